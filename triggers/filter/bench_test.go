package filter

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

// BenchmarkMatch is what one pattern costs, of a record of 1 KB and of a small one that it does not match.
func BenchmarkMatch(b *testing.B) {
	data := []byte(`{"pad":"` + strings.Repeat("x", 900) + `","kind":"orders-eu","n":7}`)
	for name, p := range map[string]string{"exact": `{"data":{"kind":["a"]}}`, "prefix": `{"data":{"kind":[{"prefix":"sales"}]}}`, "suffix": `{"data":{"kind":[{"suffix":"-us"}],"n":[7]}}`} {
		s, err := Compile([]string{p}, Options{Kind: runtime.KindKinesis})
		if err != nil {
			b.Fatal(err)
		}
		small := []byte(`{"kind":"orders-eu","n":7}`)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.Match(&Record{Data: data})
			}
		})
		b.Run(name+"-small", func(b *testing.B) {
			for b.Loop() {
				s.Match(&Record{Data: small})
			}
		})
	}
}
