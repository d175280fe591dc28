package pool

import (
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions/logs"
)

// kept is a log of its own.
func kept(t *testing.T) *logs.Log {
	t.Helper()
	s, err := logs.Open(logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Function("f")
}

func TestTailOfAnInvocationIsFourKilobytes(t *testing.T) {
	r := recorder{logs: kept(t)}
	for range 100 {
		r.Line("i", []byte(strings.Repeat("y", 999)))
	}
	r.Line("i", []byte("last"))
	if got := r.last(); len(got) != maxTail || !strings.HasSuffix(string(got), "y\nlast\n") {
		t.Errorf("%d bytes, ending %q", len(got), got[max(0, len(got)-8):])
	}
	if cap(r.tail) > 4*slack*maxTail {
		t.Errorf("%d bytes are kept for it", cap(r.tail))
	}
}

func TestEachEnvironmentHasALogStreamNamedAsOnAWS(t *testing.T) {
	l := kept(t)
	now := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	a, b := recorder{logs: l, version: "$LATEST"}, recorder{logs: l, version: "7"}
	a.write(now, "i", "START")
	a.write(now.Add(time.Hour), "j", "START")
	b.write(now, "k", "START")
	lines := l.Tail(-1)
	if len(lines) != 3 {
		t.Fatalf("%+v", lines)
	}
	if got := lines[0].Stream; !strings.HasPrefix(got, "2026/11/22/[$LATEST]") || len(got) != len("2026/11/22/[$LATEST]")+32 || lines[1].Stream != got {
		t.Errorf("streams %q and %q", got, lines[1].Stream)
	}
	if got := lines[2].Stream; !strings.HasPrefix(got, "2026/11/22/[7]") {
		t.Errorf("of version 7: %q", got)
	}
}
