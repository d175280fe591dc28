package sandbox

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/wasmill/wasmill/runtime/wasm"
)

// load readies the module. Its native code has been made by another child, and the
// server sees to it that it is what that one wrote.
func (s *sandbox) load(order loadOrder) (err error) {
	// What loading takes is bounded, and somebody waits: collected is later.
	percent := debug.SetGCPercent(-1)
	defer func() {
		debug.SetGCPercent(percent)
		time.AfterFunc(300*time.Millisecond, debug.FreeOSMemory) // what it left behind is more than running needs
	}()
	ctx := context.Background()
	s.engine, err = wasm.NewEngine(ctx, wasm.Options{CacheDir: order.Dir, Account: order.Account, Region: order.Region, Endpoint: order.Endpoint, Dialer: s.dialer})
	if err != nil {
		return err
	}
	s.program, err = s.engine.Recall(ctx, order.SHA256)
	return err
}
