package natsd_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

var update = flag.Bool("update", false, "write testdata of the current format anew")

type goldenThing struct {
	Name string `json:"name"`
}

// TestEveryFormatEverReleasedIsOpened opens a data directory of each. When
// Format grows, go test -run EveryFormat -update writes the new one; the old
// ones stay as they are.
func TestEveryFormatEverReleasedIsOpened(t *testing.T) {
	if *update {
		writeGolden(t, filepath.Join("testdata", fmt.Sprintf("format%d", natsd.Format)))
	}
	for n := 1; n <= natsd.Format; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", fmt.Sprintf("format%d", n)))); err != nil {
				t.Fatal(err)
			}
			s := natsdtest.Start(t, natsd.Options{Dir: dir})
			st, err := s.JS().Stream(t.Context(), "L_golden")
			if err != nil {
				t.Fatal(err)
			}
			if state := st.CachedInfo().State; state.FirstSeq != 2 || state.LastSeq != 3 {
				t.Errorf("log holds %d to %d, want 2 to 3", state.FirstSeq, state.LastSeq)
			}
			for seq := uint64(2); seq <= 3; seq++ {
				m, err := st.GetMsg(t.Context(), seq)
				if err != nil || string(m.Data) != fmt.Sprintf("frame %d", seq) {
					t.Errorf("frame %d: %v, %v", seq, m, err)
				}
			}
			b, err := kv.Open[goldenThing](t.Context(), s, "things")
			if err != nil {
				t.Fatal(err)
			}
			if v, _, err := b.Get(t.Context(), "some/thing"); err != nil || v.Name != "golden" {
				t.Errorf("definition: %v, %v", v, err)
			}
		})
	}
}

func writeGolden(t *testing.T, dir string) {
	t.Helper()
	tmp := filepath.Join(t.TempDir(), "data")
	s := natsdtest.Start(t, natsd.Options{Dir: tmp})
	mustMakeStream(t, s, "L_golden")
	for i := range 3 {
		if _, err := s.JS().Publish(t.Context(), "L_golden", fmt.Appendf(nil, "frame %d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.JS().Stream(t.Context(), "L_golden")
	if err == nil {
		err = st.DeleteMsg(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := kv.Open[goldenThing](t.Context(), s, "things")
	if err == nil {
		_, err = b.Create(t.Context(), "some/thing", goldenThing{"golden"})
	}
	if err != nil {
		t.Fatal(err)
	}
	natsdtest.Close(t, s)
	if err := os.Remove(filepath.Join(tmp, "lock")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(tmp)); err != nil {
		t.Fatal(err)
	}
}
