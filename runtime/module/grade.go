package module

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/functions"
)

// abiExports are the exports of docs/abi.md.
var abiExports = map[string]Signature{
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

// Grade says how the module is called. The error names everything that keeps it
// from being called at all, and what to change.
func (m *Module) Grade() (functions.ABI, error) {
	var faults []string
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }

	for _, i := range m.imports {
		if text := i.fault(); text != "" {
			fault("%s", text)
			if len(faults) > 4 {
				break
			}
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
		return "", errors.New(strings.Join(faults, "; "))
	}
	return abi, nil
}

// fault is what is wrong with an import, or empty.
func (i imported) fault() string {
	offered, who := WASI, "WASI preview 1"
	switch i.module {
	case WASIModule:
	case Host:
		offered, who = Imports, "wasmill"
	case "gojs", "go":
		return "it was built for a browser (GOOS=js); build it with GOOS=wasip1 GOARCH=wasm, or with `wasmill build`"
	case "wasi_unstable":
		return fmt.Sprintf("it imports %s.%s, the first draft of WASI; build it for WASI preview 1 (wasm32-wasip1)", i.module, i.name)
	default:
		return fmt.Sprintf("it imports %s.%s, which nobody provides: only %s and %s may be imported; build it for WASI preview 1 (wasm32-wasip1) without that library", i.module, i.name, WASIModule, Host)
	}
	sig, known := offered[i.name]
	switch {
	case i.kind != kindFunc:
		return fmt.Sprintf("it imports %s.%s, which is not a function", i.module, i.name)
	case i.module == Host && i.name == YieldName:
		return fmt.Sprintf("it imports %s.%s, which only wasmill itself may: hand in what your compiler wrote", i.module, i.name)
	case !known:
		return fmt.Sprintf("it imports %s.%s, which %s does not have", i.module, i.name, who)
	case sig != i.sig:
		return fmt.Sprintf("it imports %s.%s as %v, %s has %v", i.module, i.name, i.sig, who, sig)
	}
	return ""
}
