package natsd_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd"
)

// publishForEver publishes numbers and prints each once it is acknowledged.
func publishForEver() {
	ctx := context.Background()
	s, err := natsd.Start(ctx, natsd.Options{Dir: os.Getenv("NATSD_TEST_DIR")})
	if err == nil && os.Getenv("NATSD_TEST_FIRST") == "1" {
		err = makeStream(ctx, s, "S")
	}
	for n := uint64(0); err == nil; n++ {
		if _, err = s.JS().Publish(ctx, "S", binary.BigEndian.AppendUint64(nil, n)); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestAcknowledgedMessagesSurviveKills(t *testing.T) {
	dir := t.TempDir()
	var acked uint64 // summed over the kills
	for kill := range 5 {
		cmd := child(t, "publish", "NATSD_TEST_DIR="+dir, "NATSD_TEST_FIRST="+strconv.Itoa(kill+1))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if acked++; n == 50*(kill+1) {
				_ = cmd.Process.Kill() // the rest of the lines is still read
			}
		}
		_ = cmd.Wait()
	}
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.JS().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	state := st.CachedInfo().State
	if acked < 5*50 || state.Msgs < acked || state.Msgs != state.LastSeq {
		t.Fatalf("acknowledged %d, stored %d up to %d", acked, state.Msgs, state.LastSeq)
	}
	// Each run's numbers stand in order from 0: nothing acknowledged is missing between.
	var next uint64
	for seq := uint64(1); seq <= state.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if n := binary.BigEndian.Uint64(m.Data); n != next && n != 0 {
			t.Fatalf("message %d holds %d, want %d or a new run", seq, n, next)
		} else {
			next = n + 1
		}
	}
}
