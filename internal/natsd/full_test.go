package natsd_test

import (
	"errors"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestTheDataDirectoryStaysWithinItsLimit(t *testing.T) {
	const most = 16 << 20
	dir := t.TempDir()
	s := natsdtest.Start(t, natsd.Options{Dir: dir, MaxDisk: most})
	mustMakeStream(t, s, "S")
	msg := make([]byte, 256<<10)
	put := func(c natsd.Class) (n int, err error) {
		for ; ; n++ {
			if err := s.Admit(c, len(msg)); err != nil {
				return n, err
			}
			if _, err := s.JS().Publish(t.Context(), "S", msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, err := put(natsd.Data)
	want(t, err, natsd.ErrReserve, "disk limit", dir, "16.0 MiB")
	full, ok := errors.AsType[*natsd.QuotaError](err)
	if !ok || full.Limit != most || full.Used > most || full.Used < most-most/8 {
		t.Errorf("error = %+v, want the figures", full)
	}
	if n < 50 || n > 64 {
		t.Errorf("%d messages of 256 KiB in %d bytes", n, most)
	}
	if used, limit, warning := s.Quota(); used > most || used < most-most/8 || limit != most || !warning {
		t.Errorf("quota: %d of %d, warning %v", used, limit, warning)
	}
	if used, free := s.Usage(); used > most || free > int64(len(msg)) {
		t.Errorf("usage: %d, %d free", used, free)
	}
	if n, err := put(natsd.Journal); n < 4 || n > 8 || !errors.Is(err, natsd.ErrReserve) {
		t.Errorf("journals put %d messages, %v; want a tenth more", n, err)
	}

	st, err := s.JS().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	for s.Admit(natsd.Data, len(msg)) != nil { // the files go a moment later
		time.Sleep(time.Millisecond)
	}
	for _, _, warning := s.Quota(); warning; _, _, warning = s.Quota() {
		time.Sleep(time.Millisecond)
	}
}
