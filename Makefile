# A door to CMake's presets and the scripts in tools/. `make run` and `make test` are all one needs.
MODEL ?=
PREFIX ?= /usr/local

help:
	@echo 'make run [MODEL=file.gguf]   set up, build, serve, and answer a first question with a local model'
	@echo 'make test                    set up, build, every test'
	@echo 'make test-slow               kills, long fuzzing, soak'
	@echo 'make bench                   against nginx and other servers'
	@echo 'make build | install PREFIX=… | format | lint | clean'

run: build
	@tools/first-call build/release/bin/hearth $(if $(MODEL),--model "$(MODEL)")

build:
	@tools/setup run
	@tools/build release hearth hearth-engine

test:
	@tools/setup test
	@tools/test-all

test-slow:
	@tools/setup test
	@tools/test-all slow

bench: build
	@tools/setup bench
	@bench/run

# Installs what is built, so that `sudo make install` makes nothing as root.
install:
	@test -x build/release/libexec/hearth/hearth-engine || $(MAKE) --no-print-directory build
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)" >/dev/null
	@mkdir -p "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	@build/release/bin/hearth manual page > "$(DESTDIR)$(PREFIX)/share/man/man1/hearth.1"
	@build/release/bin/hearth manual bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/hearth"
	@echo 'hearth is in $(DESTDIR)$(PREFIX)/bin'

format:
	@tools/setup test
	@clang-format -i $$(git ls-files '*.c' '*.h')

lint:
	@tools/setup test
	@tools/lint

clean:
	@rm -rf build

.PHONY: help run build test test-slow bench install format lint clean
