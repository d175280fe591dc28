package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// numbered puts so many events into one stream, one by one.
func numbered(t testing.TB, s *Store, n int) {
	t.Helper()
	if err := errors.Join(s.CreateGroup(Group{Name: "g"}), s.CreateStream("g", "s")); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := s.Put("g", "s", []Input{{Time: time.Now(), Text: fmt.Sprint("line ", i)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func allOf(t testing.TB, s *Store) []Event {
	t.Helper()
	all, _, err := s.Find(Query{Group: "g", Limit: 100_000, Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestADamagedByteCostsOneEvent(t *testing.T) {
	const n = 6000
	for name, size := range map[string]int64{"of the segment that takes events": 0, "of a sealed one": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := on(t, dir, Options{GroupBytes: size})
			numbered(t, s, n)
			closed(t, s)
			files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
			if (len(files) > 1) != (size > 0) {
				t.Fatalf("%d segments", len(files))
			}
			whole, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(dir, files[0])
			for _, at := range []int{0, 9, 100, 101, 102, 103, 104, len(whole) / 2} { // heads and payloads
				b := bytes.Clone(whole)
				b[at] ^= 0x41
				dir := killed(t, dir)
				file := filepath.Join(dir, rel)
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				s := on(t, dir, Options{GroupBytes: size, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if got := allOf(t, s); len(got) < n-1 {
					t.Errorf("byte %d: %d events of %d", at, len(got), n)
				}
				allOf(t, s)
				if err := s.Put("g", "s", []Input{{Time: time.Now(), Text: "more"}}); err != nil {
					t.Fatal(err)
				}
				if got := allOf(t, s); got[len(got)-1].Text != "more" || got[len(got)-1].Stream != "s" {
					t.Errorf("byte %d: it does not go on", at)
				}
				closed(t, s)
				if got := log.String(); strings.Count(got, "are damaged") != 1 || !strings.Contains(got, "group=g") || !strings.Contains(got, file) {
					t.Errorf("byte %d: the server's log says %q", at, got)
				}
				if info, err := os.Stat(file); err != nil || info.Size() != int64(len(whole)) {
					t.Errorf("byte %d: %v is left of %d bytes, %v", at, info, len(whole), err)
				}
			}
		})
	}
}

func TestEventsWhoseStreamsNameIsDamagedAreShown(t *testing.T) {
	dir := t.TempDir()
	s := on(t, dir, Options{})
	numbered(t, s, 3)
	if err := s.CreateStream("g", "other"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("g", "other", []Input{{Time: time.Now(), Text: "last"}}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[frameHead+2] ^= 1 // the name
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range allOf(t, on(t, dir, Options{})) {
		got = append(got, e.Stream+":"+e.Text)
	}
	if want := "damaged:line 0, damaged:line 1, damaged:line 2, other:last"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

// A text may be made of what looks like heads of frames.
func TestSearchBehindDamageIsBounded(t *testing.T) {
	head := binary.LittleEndian.AppendUint32(nil, 64<<10)
	b := bytes.Repeat(head, 1<<20)
	var d decoder
	began := 0
	for at := 0; at < len(b); at++ {
		if n := length(b[at:]); n > 0 {
			began += n
		}
	}
	if began < 4*searchWork {
		t.Fatalf("%d bytes to sum up: too few to test anything", began)
	}
	if n, tired := d.skip(b[1:]); !tired || n != len(b)-1 {
		t.Errorf("skip = %d, %v", n, tired)
	}
}

func TestAGroupMayBeChangedWhileItIsWrittenAndFull(t *testing.T) {
	s := on(t, t.TempDir(), Options{Admit: func(int) error { return errors.New("full") }})
	if err := errors.Join(s.CreateGroup(Group{Name: "g"}), s.CreateStream("g", "s")); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", MaxText)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.SetRetention("g", i%5+1); err != nil {
				t.Error(err)
			}
		}
	})
	for full := 0; full < 1000; { // the writer gives up what is too much, so it is full again and again
		switch err := s.Put("g", "s", []Input{{Time: time.Now(), Text: big}}); {
		case errors.Is(err, ErrFull):
			full++
		case err != nil:
			t.Error(err)
			full = 1000
		}
	}
	close(stop)
	wg.Wait()
}
