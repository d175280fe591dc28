package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
)

func TestStreamsThatAFunctionEmitsTo(t *testing.T) {
	w := newWorld(t)
	code := w.file("f.wasm", answers(`{"emit":[{"stream":"alerts","partitionKey":"k","data":"aGVsbG8="}]}`))
	w.ok("stream", "create", "alerts")

	// A stream that is not there yet is a warning, with what to do.
	o := w.run("fn", "create", "f", code, "--emit", "alerts", "--emit", "later")
	if o.status != 0 || !strings.Contains(o.err, "there is no stream later yet") || !strings.Contains(o.err, "wasmill stream create later") || strings.Contains(o.err, "no stream alerts") {
		t.Errorf("status %d:\n%s", o.status, o.err)
	}
	if v := data[admin.Function](w, "fn", "get", "f"); !slices.Equal(v.Emits, []string{"alerts", "later"}) {
		t.Errorf("may emit to %q", v.Emits)
	}
	if out := w.ok("fn", "get", "f"); !strings.Contains(out, "alerts, later") {
		t.Errorf("fn get prints\n%s", out)
	}

	// Another setting leaves them; they are replaced together.
	if o := w.run("fn", "update", "f", "--timeout", "5s"); o.status != 0 || strings.Contains(o.err, "no stream") {
		t.Errorf("a warning about what was not changed:\n%s", o.err)
	}
	if v := data[admin.Function](w, "fn", "update", "f", "--emit", "alerts"); !slices.Equal(v.Emits, []string{"alerts"}) {
		t.Errorf("may emit to %q", v.Emits)
	}

	if out := w.ok("__complete", "fn", "update", "f", "--emit", "al"); !strings.HasPrefix(out, "alerts\n") {
		t.Errorf("completes a stream to\n%s", out)
	}

	// An invocation shows what it would emit, and emits nothing.
	o = w.run("fn", "invoke", "f", "--record", "x")
	if !strings.Contains(o.err, "would emit 1 record") || !strings.Contains(o.err, "to alerts, key k: hello") || !strings.Contains(o.out, `"emit"`) {
		t.Errorf("invoke prints\n%s%s", o.out, o.err)
	}
	if v := data[admin.Invocation](w, "fn", "invoke", "f"); len(v.Emits) != 1 || v.Emits[0].Stream != "alerts" || string(v.Emits[0].Data) != "hello" || v.EmitProblem != "" {
		t.Errorf("%+v", v)
	}
	if records := tail(w, "alerts"); len(records) != 0 {
		t.Errorf("an invocation emitted %d records", len(records))
	}

	// '' is none, and then the reply would fail.
	if v := data[admin.Function](w, "fn", "update", "f", "--emit", ""); len(v.Emits) != 0 {
		t.Errorf("may emit to %q", v.Emits)
	}
	if o := w.run("fn", "invoke", "f"); o.status != 0 || !strings.Contains(o.err, "would have failed") || !strings.Contains(o.err, "wasmill fn update f --emit alerts") {
		t.Errorf("status %d:\n%s", o.status, o.err)
	}
	w.fails(2, admin.CodeUsage, "fn", "update", "f", "--emit", "", "--emit", "alerts")
	w.fails(1, admin.CodeFunctionInvalid, "fn", "update", "f", "--emit", "no such name")
	w.fails(1, admin.CodeFunctionInvalid, "fn", "update", "f", "--emit", "a", "--emit", "a")
}
