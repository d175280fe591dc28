package natsd_test

import (
	"errors"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestMemoryIsBounded(t *testing.T) {
	const most = 16 << 20
	s := natsdtest.Start(t, natsd.Options{Memory: true, MaxMemory: most})
	mustMakeStream(t, s, "S")
	msg := make([]byte, 256<<10)
	var err error
	for err == nil {
		if err = s.Admit(natsd.Data, len(msg)); err == nil {
			if _, err := s.JS().Publish(t.Context(), "S", msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	want(t, err, natsd.ErrReserve, "memory limit", "1.0 MiB")
	full, ok := errors.AsType[*natsd.ReserveError](err)
	if !ok || full.Reserve != most/16 || full.Free >= full.Reserve {
		t.Errorf("error = %+v, want the figures", full)
	}
	if used, _ := s.Usage(); used > most || used < most/2 {
		t.Errorf("used = %d of %d when refused", used, most)
	}
	if err := s.Admit(natsd.Journal, 1000); err != nil {
		t.Errorf("a journal was refused: %v", err)
	}

	st, err := s.JS().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Admit(natsd.Data, len(msg)); err != nil {
		t.Errorf("refused when there is space again: %v", err)
	}
	if _, free := s.Usage(); free != most-most/16 {
		t.Errorf("free = %d, want all but the reserve", free)
	}
}
