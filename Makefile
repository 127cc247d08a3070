# Two commands for a newcomer: `make demo` and `make test`. Both make .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STORE ?= demo-store
SAMPLES := tests/samples
WORLD ?= compared-world
VIDEOBERT := $(BIN)/videobert
FAISS ?= cpu

.PHONY: demo test test-long check audit faults hostile fuzz story languages bench compare clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,$(FAISS),test]'
	touch $@

demo: $(VENV)/ready  ## the whole main job on the sample corpus, ending in answers
	$(VIDEOBERT) run $(SAMPLES) --store $(STORE) --size demo --truth $(SAMPLES)/truth.json
	@for query in "chop the carrot" "peel the banana" "wash the tomato"; do \
	  echo; echo "videobert search \"$$query\""; \
	  $(VIDEOBERT) search "$$query" --store $(STORE) --top 3 || exit; done
	@echo; echo "videobert caption kitchen-020"
	@$(VIDEOBERT) caption kitchen-020 --store $(STORE)
	@echo; echo "videobert next kitchen-020@9"
	@$(VIDEOBERT) next kitchen-020@9 --store $(STORE)
	@echo; echo "videobert classify kitchen-020@8 --verbs chop,season,wash --nouns banana,carrot,egg"
	@$(VIDEOBERT) classify kitchen-020@8 --verbs chop,season,wash --nouns banana,carrot,egg --store $(STORE)
	@echo; echo "videobert imagine \"Now chop the carrot just like this.\""
	@$(VIDEOBERT) imagine "Now chop the carrot just like this." --store $(STORE) --out $(STORE)/imagined.png
	@echo; echo "The page with all of it: $(abspath $(STORE))/report.html"
	@echo "To search and watch in a browser: $(VIDEOBERT) serve --store $(STORE)"

# The tests start hundreds of processes: each would compile our modules anew where compiled ones may not be kept.
test: $(VENV)/ready check  ## the tests, in two processes
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/ready  ## the tests that `make test` leaves out, as each takes long
	VIDEOBERT_LONG=1 $(BIN)/python -m pytest -m long -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

audit:  ## known vulnerabilities of the pinned versions; pip-audit has an environment of its own
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit==2.10.1
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt

faults: $(VENV)/ready  ## the long loop of kills, full disks, no memory, clocks set back
	VIDEOBERT_LONG=1 VIDEOBERT_FAULTS=60 $(BIN)/python -m pytest tests/faults

hostile: $(VENV)/ready  ## files made to crash, hang, reach out or run code: 50 cuts, 500 flips, thousands of texts
	VIDEOBERT_LONG=1 VIDEOBERT_HOSTILE=1 $(BIN)/python -m pytest tests/hostile tests/multimodal/test_confinement.py tests/flows/test_terminal.py

fuzz: $(VENV)/ready  ## a coverage-guided fuzzer over our parsers of caption files and JSON, ten minutes each
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	for parser in captions json; do $(BIN)/python tests/hostile/fuzz.py $$parser -max_total_time=600 || exit; done

story: $(VENV)/ready  ## `make demo` and its figures, as a test
	VIDEOBERT_SLOW=1 $(BIN)/python -m pytest tests/story

languages: $(VENV)/ready  ## Whisper base on voices in other languages: samples of PyPI's, and espeak-ng's where it is installed
	VIDEOBERT_SLOW=1 $(BIN)/python -m pytest -s tests/speech/test_voices.py tests/multimodal/test_spoken_samples.py

bench: $(VENV)/ready  ## the figures of docs/results.md; after `make demo`
	for benchmark in tests/benchmarks/*.py; do $(BIN)/python $$benchmark || exit; done

compare: $(VENV)/ready  ## systems of pretraining side by side, small: 100 videos of the known world, one seed
	$(BIN)/python tests/benchmarks/systems.py --videos 100 --tokens 150000 --keep $(WORLD)
	@echo; echo "The page with its picture: $(abspath $(WORLD))/store/comparison.html"

clean:
	rm -rf $(VENV) $(VENV)-audit $(STORE) $(WORLD)
