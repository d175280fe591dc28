package wasm

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// Who has an image's file, by whatever way, cannot change it.
func TestImageIsSealed(t *testing.T) {
	_, i := mutable(t, false)
	if i.file.f == nil {
		t.Skip("this system has no sealed files")
	}
	if _, err := i.file.f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("it can be written to")
	}
	if err := i.file.f.Truncate(0); err == nil {
		t.Error("it can be cut")
	}
	if err := i.file.f.Truncate(1 << 20); err == nil {
		t.Error("it can be made longer")
	}
	if b, err := unix.Mmap(int(i.file.f.Fd()), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Error("it can be mapped to be written to")
		unix.Munmap(b)
	}
	if _, err := unix.FcntlInt(i.file.f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err == nil {
		t.Error("its seals can be changed")
	}
}

// Pages of zeros take no memory.
func TestImageIsSparse(t *testing.T) {
	i := capture(holed(), nil, false)
	defer i.close()
	if i.file.f == nil {
		t.Skip("this system has no sealed files")
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(i.file.f.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	if kb := s.Blocks / 2; kb > 7*4 {
		t.Errorf("7 of 64 pages have something in them, it takes %d KB", kb)
	}
}

func TestMemoryLearnsWhatIsWrittenAgainAndAgain(t *testing.T) {
	m, i := mutable(t, false)
	if !m.mapped {
		t.Skip("this system has no sealed files")
	}
	for range 3 {
		m.hot.enter()
		m.buf[3*page], m.buf[4*page], m.buf[20*page+5] = 1, 1, 1
		m.hot.leave()
		if !m.reset(true) {
			t.Fatal("not reset")
		}
	}
	var learned []int
	for _, s := range m.hot.spans {
		for p := s.from / page; p < s.to/page; p++ {
			// Zeros that were read look like zeros that were written.
			if slices.Contains([]int{3, 4, 20}, p) || !i.zeros[p] {
				learned = append(learned, p)
			}
		}
	}
	if want := []int{3, 4, 20}; !slices.Equal(learned, want) {
		t.Errorf("learned %v, want %v", learned, want)
	}
}

func TestClosedEnvironmentsLeaveNothing(t *testing.T) {
	count := func() (maps, files int) {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "wasmill-image"), len(list)
	}
	maps, files := count()
	p, _, err := engine(t).Load(t.Context(), wasmtest.Guest(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, isolate := range []func(*functions.Config){isolated, func(*functions.Config) {}} {
		for range 20 {
			e, err := p.New(t.Context(), version(isolate), nil)
			if err != nil {
				t.Fatal(err)
			}
			want(t, e, "calls", "1")
			want(t, e, "hold 30", "31457280")
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if m, f := count(); m > maps || f > files {
		t.Errorf("%d images are mapped, were %d; %d files are open, were %d", m, maps, f, files)
	}
}

// Memory of which nothing is discarded any more, because nothing but the same pages is written, is
// still reset wherever else something is.
func TestSettledMemoryForgetsWhatIsWrittenAnywhere(t *testing.T) {
	m, _ := mutable(t, false)
	if !m.mapped {
		t.Skip("this system has no sealed files")
	}
	want := bytes.Clone(m.buf)
	r := rand.New(rand.NewPCG(1, 2))
	settled, strays := 0, 0
	for round := range 3000 {
		m.hot.enter()
		m.buf[3*page], m.buf[20*page+5] = 1, byte(round)
		if r.IntN(30) == 0 {
			if m.hot.settled {
				strays++
			}
			at := r.IntN(len(m.buf))
			switch r.IntN(3) {
			case 0:
				m.buf[at] ^= 0xff
			case 1: // to what it is: the page is our own from now on
				m.buf[at] = m.buf[at] + 0
			case 2:
				clear(m.buf[at:min(at+3*page, len(m.buf))])
			}
		}
		m.hot.leave()
		if !m.reset(true) {
			t.Fatal("not reset")
		}
		if m.hot.settled {
			settled++
		}
		if !bytes.Equal(m.buf, want) {
			t.Fatalf("round %d: something is left", round)
		}
	}
	if settled < 100 || strays < 5 {
		t.Errorf("settled after %d rounds, and then written elsewhere in %d: not what was to be seen", settled, strays)
	}
}
