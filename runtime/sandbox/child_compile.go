package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// Limits of a compile child. A handler with aws-sdk-go-v2 takes 11 s and 450 MB; a
// process of ours has 1.3 GB of address space before it does anything.
const (
	compileCPU    = 120     // seconds of processor time
	compileMemory = 3 << 30 // bytes of address space
)

// compileIn compiles one module into the folder of the order and ends.
func compileIn(l *childLink, b []byte) error {
	var order compileOrder
	if err := json.Unmarshal(b, &order); err != nil {
		return err
	}
	missing := armour(order.harden, true, "", order.Dir)
	// The compiler's garbage is worth less than the address space it would take.
	debug.SetMemoryLimit(order.Memory / 2)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // nothing more comes but the end
		_, _, _ = l.receive()
		os.Exit(1)
	}()
	info, err := compileTo(ctx, order, func(p runtime.Progress) {
		_ = l.send(kindStage, p, nil) // the end shows above
	})
	report := compileReport{ABI: string(info.ABI), Missing: missing}
	if err != nil {
		report.Error, report.Refused = err.Error()[:min(len(err.Error()), 8<<10)], errors.Is(err, functions.ErrCode)
	}
	return l.send(kindDone, report, nil)
}

func compileTo(ctx context.Context, order compileOrder, progress func(runtime.Progress)) (functions.Code, error) {
	code, err := os.ReadFile(filepath.Join(order.Dir, codeFile))
	if err != nil {
		return functions.Code{}, err
	}
	e, err := wasm.NewEngine(ctx, wasm.Options{CacheDir: order.Dir, Workers: order.Workers})
	if err != nil {
		return functions.Code{}, err
	}
	info, err := e.Check(ctx, code, progress)
	return info, err
}
