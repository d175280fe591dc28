package wasm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/functions"
)

const (
	i32 = "\x7f"
	i64 = "\x7e"

	wasiModule = "wasi_snapshot_preview1"

	// maxTable bounds the elements of a table at start: each costs 8 bytes of
	// host memory outside the function's limit. Go needs one an indirect function.
	maxTable = 1 << 20
)

// abiExports are the exports of docs/abi.md.
var abiExports = map[string]signature{
	"wm_abi_version": {"", i32},
	"wm_start":       {"", i32},
	"wm_alloc":       {i32, i32},
	"wm_batch":       {i32, i64},
	"wm_json":        {i32, i64},
	"wm_freeze":      {"", ""},
	"wm_reseed":      {i64, ""},
	"_initialize":    {"", ""},
	"_start":         {"", ""},
}

// grade says how a module is called, and everything that keeps it from being
// called at all. offered are the functions a module may import.
func (m *module) grade(offered map[string]signature) (functions.ABI, error) {
	var faults []string
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }

	for _, i := range m.imports {
		sig, known := offered[i.name]
		switch {
		case i.module == "gojs" || i.module == "go":
			fault("it was built for a browser (GOOS=js); build it with GOOS=wasip1 GOARCH=wasm, or with `wasmill build`")
		case i.module == "wasi_unstable":
			fault("it imports %s.%s, the first draft of WASI; build it for WASI preview 1 (wasm32-wasip1)", i.module, i.name)
		case i.module != wasiModule:
			fault("it imports %s.%s, which nobody provides: only %s may be imported; build it for WASI preview 1 (wasm32-wasip1) without that library", i.module, i.name, wasiModule)
		case i.kind != kindFunc:
			fault("it imports %s.%s, which is not a function", i.module, i.name)
		case !known:
			fault("it imports %s.%s, which WASI preview 1 does not have", i.module, i.name)
		case sig != i.sig:
			fault("it imports %s.%s as %v, WASI preview 1 has %v", i.module, i.name, i.sig, sig)
		default:
			continue
		}
		if len(faults) > 4 {
			break
		}
	}
	for i, t := range m.tables {
		if t.min > maxTable {
			fault("its table %d starts with %d elements, at most %d can be had", i, t.min, maxTable)
		}
	}
	for _, l := range m.memories {
		if l.shared {
			fault("its memory is shared; build it without threads")
		}
	}
	if e, ok := m.exports["memory"]; !ok || e.kind != kindMemory {
		fault("it does not export its memory under the name \"memory\"")
	}

	has := func(name string) bool {
		sig, ok := m.function(name)
		if ok && sig != abiExports[name] {
			fault("its export %s is %v, want %v", name, sig, abiExports[name])
		}
		return ok
	}
	for _, name := range []string{"wm_start", "wm_freeze", "wm_reseed", "_initialize"} {
		has(name)
	}
	version, alloc, batch, json, command := has("wm_abi_version"), has("wm_alloc"), has("wm_batch"), has("wm_json"), has("_start")
	var abi functions.ABI
	switch any := version || alloc || batch || json; {
	case any && !(version && alloc && json):
		var missing []string
		for name, ok := range map[string]bool{"wm_abi_version": version, "wm_alloc": alloc, "wm_json": json} {
			if !ok {
				missing = append(missing, name)
			}
		}
		slices.Sort(missing)
		fault("it exports some of the guest ABI but not %s (see docs/abi.md)", strings.Join(missing, " and "))
	case batch:
		abi = functions.ABIBatch
	case json:
		abi = functions.ABIJSON
	case command:
		abi = functions.ABICommand
	default:
		fault("it exports neither wm_json (guest ABI, see docs/abi.md) nor _start (WASI command), so there is nothing to call: build Go handlers with `wasmill build`, others as a WASI command or with the exports of docs/abi.md")
	}
	if len(faults) > 0 {
		return "", fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return abi, nil
}
