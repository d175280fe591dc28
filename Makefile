# wasmill: streams turn it. `make help` lists what can be made.
SHELL   := /bin/bash
GO      ?= go
BIN     := bin/wasmill
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
export CGO_ENABLED = 0

.DEFAULT_GOAL := help
.PHONY: help build demo test check bench generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the one static binary, bin/wasmill
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/wasmill

demo: build ## a week of earthquakes through a Go Lambda handler, poison buried
	@$(GO) run ./samples/demo $(BIN)

test: ## run the tests
	$(GO) test -timeout 35m ./...

check: ## gofmt, vet, staticcheck, floor plan, generated files, cross builds
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not gofmt-ed:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count=1 ./internal/arch
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code -- docs || { echo "generated files were out of date: commit what 'make generate' wrote"; exit 1; }
	@set -e; for p in $(PLATFORMS); do echo "build and vet $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./cmd/wasmill; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet ./...; done

generate: ## write the generated documents anew
	$(GO) generate ./...

bench: ## measure, against a raw limit in the same run; ONLY=prefix picks
	$(GO) run ./bench $(if $(ONLY),-only $(ONLY))

clean: ## remove bin/
	rm -rf bin
