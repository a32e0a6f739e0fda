"""`hearth exec`: programs that know nothing of hearth reach it through the variables they read anyway."""
import os, signal, subprocess, sys, unittest

from world import HEARTH, World

ASK = """
import openai, anthropic, ollama
messages = [{"role": "user", "content": "Say hello."}]
print(openai.OpenAI().chat.completions.create(model="tiny", max_tokens=4, messages=messages).usage.completion_tokens)
print(anthropic.Anthropic().messages.create(model="tiny", max_tokens=4, messages=messages).usage.output_tokens)
print(ollama.chat(model="tiny", options={"num_predict": 4}, messages=messages).eval_count)
"""


class Exec(unittest.TestCase):
    def setUp(self):
        self.w = World()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "ANTHROPIC", "OLLAMA", "HEARTH"))}

    def tearDown(self):
        self.w.close()

    def run_exec(self, *args, **env):
        return subprocess.run([HEARTH, "exec", "-c", str(self.w.config), *args], capture_output=True, text=True, timeout=60, env={**self.env, **env})

    def test_three_sdks_through_a_running_hearth(self):
        self.w.start()
        r = self.run_exec("--", sys.executable, "-c", ASK)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual([0 < int(n) <= 4 for n in r.stdout.split()], [True] * 3, "each got its few tokens")
        self.assertEqual(len(self.w.rows()), 3)

    def test_three_sdks_through_one_that_ends_with_the_program(self):
        r = self.run_exec(sys.executable, "-c", ASK)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual([0 < int(n) <= 4 for n in r.stdout.split()], [True] * 3, "each got its few tokens")
        self.assertEqual(len(self.w.rows()), 3)
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_the_programs_flags_and_exit_are_its_own(self):
        for start in (False, True):
            if start:
                self.w.start()
            r = self.run_exec("--task", "plan", "sh", "-c", 'echo "$1 $ANTHROPIC_MODEL $AIDER_MODEL $OPENAI_API_KEY $NO_PROXY"; exit 7', "x", "--model", NO_PROXY="a.example", HEARTH_KEY="hk-1")
            self.assertEqual((r.returncode, r.stdout), (7, "--model task/plan openai/task/plan hk-1 a.example,127.0.0.1,localhost\n"), r.stderr)
            r = self.run_exec("no-such-program")
            self.assertEqual(r.returncode, 127, r.stderr)
            self.assertIn("no-such-program cannot be started", r.stderr)

    def test_a_killed_program_is_told_from_one_that_fails(self):
        r = self.run_exec("sh", "-c", "kill -TERM $$")
        self.assertEqual(r.returncode, 128 + signal.SIGTERM)

    def test_without_a_command_a_shell_gets_the_variables(self):
        r = self.run_exec()
        self.assertEqual(r.returncode, 4)
        self.assertIn("hearth serve", r.stderr)
        self.w.start()
        out = subprocess.run(["sh", "-c", f'eval "$("{HEARTH}" exec -c "{self.w.config}" --model "a\'b")"; echo "$OPENAI_BASE_URL $ANTHROPIC_MODEL"'], capture_output=True, text=True, env=self.env)
        self.assertEqual(out.stdout, f"http://127.0.0.1:{self.w.port}/v1 a'b\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
