/* How long a prompt is. Servers that can be asked count it with the model's own tokenizer (upstream.c says which, and where); for the others there is
 * a guess, which is never passed off as more: x-hearth-count says exact or estimate wherever hearth tells a client of Anthropic's API a count. */
#include "gate/request.h"

int64_t gate_guess(const struct gate_req *r) { return 1 + (int64_t)r->asked.n / 4; }       /* four bytes a token, the JSON around the text included */

/* FastAPI's and llama-server's words for a path that is not there: an older server of this kind. A model that is not there is another matter. */
bool gate_has_no_count(struct gate_req *r)
{
    struct reply said;
    if (r->op != OP_COUNT || !r->sink)
        return false;
    reply_init(&said);
    openai_read_error(r->a, &r->loop->scratch, r->status, buf_str(&r->taken), &said);
    bool gone = str_eq(said.error_message, S("Not Found")) || str_eq(said.error_message, S("File Not Found"));
    return r->status == 405 || r->status == 501 || (r->status == 404 && gone);
}

enum err gate_estimate(struct gate_req *r)
{
    r->estimated = true;
    buf_clear(&r->taken);
    return buf_put(&r->taken, anthropic_count_body(r->a, gate_guess(r)));
}

str gate_count_field(const struct gate_req *r)
{
    bool told = r->op == OP_COUNT || (r->op == OP_CHAT && r->call.stream);
    if (r->dialect != DIALECT_ANTHROPIC || !told || r->err != ERR_OK || !(r->sink || r->estimated))
        return S("");
    return r->reply.prompt_tokens == TOKENS_UNKNOWN ? S("x-hearth-count: estimate\r\n") : S("x-hearth-count: exact\r\n");
}
