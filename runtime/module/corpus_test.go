package module

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// pair runs modules as they are beside rewritten ones.
type pair struct {
	plain, counted *engine
	results        int
	traps          map[string]int
	cloneable      int
}

func newPair(t testing.TB, config wazero.RuntimeConfig) *pair {
	return &pair{plain: newEngine(t, config, 0), counted: newEngine(t, config, 17), traps: map[string]int{}}
}

// compare runs a generated module both ways.
func (p *pair) compare(t *testing.T, seed uint64) {
	a, sigs := generate(seed)
	code := a.bytes()
	w := rewrite(t, code)
	if w.Cloneable {
		p.cloneable++
	}
	one, err1 := p.plain.start(code)
	two, err2 := p.counted.startRewritten(w)
	if (err1 == nil) != (err2 == nil) {
		t.Fatalf("seed %d: start: %v, rewritten %v", seed, err1, err2)
	}
	if err1 != nil {
		p.traps["at start"]++
		return
	}
	defer one.close()
	defer two.close()
	state := func(when string) {
		b1, _ := one.Memory().Read(0, one.Memory().Size())
		b2, _ := two.Memory().Read(0, two.Memory().Size())
		if !bytes.Equal(b1, b2) {
			t.Fatalf("seed %d %s: memory differs", seed, when)
		}
		for i := range a.globals {
			g := fmt.Sprint("g", i)
			x, y := one.ExportedGlobal(g), two.ExportedGlobal(g)
			if !same(byte(x.Type()), x.Get(), y.Get()) {
				t.Fatalf("seed %d %s: global %d is %x, rewritten %x", seed, when, i, x.Get(), y.Get())
			}
		}
	}
	state("after start")
	for f := 1; f < len(sigs); f++ {
		name := fmt.Sprint("f", f)
		if one.ExportedFunction(name) == nil {
			continue
		}
		args := make([]uint64, len(sigs[f].Params))
		for i := range args {
			args[i] = 0x40000000_40000000 * uint64(i+1) >> uint(f)
			if k := sigs[f].Params[i]; k == 0x7f || k == 0x7d {
				args[i] = uint64(uint32(args[i]))
			}
		}
		for _, r := range []*running{one, two} { // what was left of the steps is little
			r.ExportedGlobal("g0").(api.MutableGlobal).Set(800)
		}
		r1, t1 := one.call(name, args...)
		r2, t2 := two.call(name, args...)
		if strings.Contains(t1+t2, "stack overflow") {
			p.traps["stack overflow"]++ // how deep that is, is the engine's affair
			return
		}
		if t1 != t2 || len(r1) != len(r2) {
			t.Fatalf("seed %d %s: %v %q, rewritten %v %q", seed, name, r1, t1, r2, t2)
		}
		for i := range r1 {
			if !same(sigs[f].Results[i], r1[i], r2[i]) {
				t.Fatalf("seed %d %s: %x, rewritten %x", seed, name, r1, r2)
			}
		}
		if t1 != "" {
			p.traps[t1]++
		} else {
			p.results++
		}
		state(name)
	}
}

// A rewritten module gives what it gave before, and what it leaves in memory and
// globals is the same, traps included.
func TestRewrittenModulesDoTheSame(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config wazero.RuntimeConfig
		seeds  []uint64
	}{
		{"compiled", compiler(), []uint64{0, 250}},
		{"interpreted", wazero.NewRuntimeConfigInterpreter(), []uint64{1000, 1100}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, tt.config)
			for seed := tt.seeds[0]; seed < tt.seeds[1]; seed++ {
				p.compare(t, seed)
			}
			n := int(tt.seeds[1] - tt.seeds[0])
			t.Logf("%d calls gave results, traps %v; %d of %d modules can be cloned; %d yields", p.results, p.traps, p.cloneable, n, p.counted.yields)
			if p.results < n || len(p.traps) < 4 || p.cloneable < n/2 || p.cloneable == n {
				t.Error("the modules do too little to tell anything")
			}
			if p.counted.yields < n || p.plain.yields > 0 {
				t.Error("fuel was not asked for")
			}
		})
	}
}
