package log

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// appendForever is the process that is killed: it appends to two logs in dir and
// prints each acknowledged record on a line of its own. Besides it relays numbers
// from 1 on to one or the other, goes on where it finds them, and prints that too.
func appendForever(dir string) error {
	ctx := context.Background()
	srv, err := natsd.Start(ctx, natsd.Options{Dir: dir})
	if err != nil {
		return err
	}
	s := New(srv, Options{FrameBytes: 4 << 10})
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for c := range 8 {
		id := fmt.Sprint("log", c%2)
		if err := s.Create(ctx, id, 7); err != nil {
			return err
		}
		l, err := s.Open(ctx, id)
		if err != nil {
			return err
		}
		wg.Go(func() {
			for k := 0; ; k++ {
				recs := make([]Record, 1+k%40)
				for i := range recs {
					recs[i].Data = fmt.Appendf(nil, "%d-%d-%d-%d", os.Getpid(), c, k, i)
				}
				places, err := l.Append(ctx, recs)
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				for i, p := range places {
					fmt.Fprintf(out, "%s %d %d %s\n", id, p.Number, p.Arrival, recs[i].Data)
				}
				out.Flush()
				mu.Unlock()
			}
		})
	}
	say := func(what string, n uint64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%s %d 0 -\n", what, n)
		out.Flush()
	}
	wg.Go(func() { errs <- relayForever(ctx, s, say) })
	return <-errs
}

func relayForever(ctx context.Context, s *Set, say func(what string, n uint64)) error {
	var logs [2]*Log
	var at [2]uint64
	done := Mark{}
	for i := range logs {
		var err error
		if logs[i], err = s.Open(ctx, fmt.Sprint("log", i)); err != nil {
			return err
		}
		m, frame, err := logs[i].LastFrom(ctx, src)
		if err != nil {
			return err
		}
		if at[i] = frame; m.Compare(done) > 0 {
			done = m
		}
	}
	say("found", done.Sequence)
	for n := done.Sequence + 1; ; n++ {
		i := rand.N(2)
		frame, err := logs[i].AppendFrom(ctx, src, Mark{Sequence: n}, at[i], []Record{{Data: fmt.Appendf(nil, "out %d", n)}})
		if err != nil {
			return err
		}
		at[i] = frame
		say("relayed", n)
	}
}

const killDirVariable = "WASMILL_TEST_APPEND_FOREVER"

func init() { children[killDirVariable] = appendForever }

func TestKilledWhileAppendingLosesNothingAcknowledged(t *testing.T) {
	type acked struct {
		arrival int64
		data    string
	}
	const kills = 10
	relayed := uint64(0) // acknowledged
	dir := t.TempDir()
	all := map[string]map[uint64]acked{"log0": {}, "log1": {}}
	for kill := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDirVariable+"="+dir)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		n := 0
		for lines := bufio.NewScanner(stdout); lines.Scan(); n++ {
			var id string
			var number uint64
			var a acked
			if _, err := fmt.Sscan(lines.Text(), &id, &number, &a.arrival, &a.data); err != nil {
				break // the line during which it was killed
			}
			switch id {
			case "found":
				if number < relayed {
					t.Errorf("kill %d: %d were relayed, and %d found afterwards", kill, relayed, number)
				}
				continue
			case "relayed":
				relayed = number
				continue
			}
			if old, ok := all[id][number]; ok {
				t.Fatalf("kill %d: %s record %d given to %s and %s", kill, id, number, old.data, a.data)
			}
			all[id][number] = a
			once.Do(func() { // it is at work: kill it at some moment of the next 100 ms
				time.AfterFunc(rand.N(100*time.Millisecond), func() { cmd.Process.Kill() })
			})
		}
		cmd.Wait()
		if n == 0 {
			t.Fatalf("kill %d: the process did not append: %v", kill, cmd.ProcessState)
		}
	}

	srv := natsdtest.Start(t, natsd.Options{Dir: dir})
	s := newSet(t, srv, Options{})
	outs := map[uint64]int{}
	for id, want := range all {
		l := openLog(t, s, id)
		got := readAll(t, l)
		for number, a := range want {
			if number >= uint64(len(got)) {
				t.Errorf("%s: acknowledged record %d is lost: the log has %d", id, number, len(got))
			} else if r := got[number]; string(r.Data) != a.data || r.Arrival != a.arrival {
				t.Errorf("%s: record %d is %s of %d, acknowledged was %s of %d", id, number, r.Data, r.Arrival, a.data, a.arrival)
			}
		}
		for i := range got[1:] {
			if got[i+1].Arrival < got[i].Arrival {
				t.Errorf("%s: arrival %d falls", id, i+1)
			}
		}
		last := uint64(0)
		for _, r := range got {
			var n uint64
			if _, err := fmt.Sscanf(string(r.Data), "out %d", &n); err != nil {
				continue
			}
			if outs[n]++; n <= last {
				t.Errorf("%s: number %d was relayed behind %d", id, n, last)
			}
			last = n
		}
		t.Logf("%s: %d records, %d acknowledged over %d kills", id, len(got), len(want), kills)
		mustAppend(t, l, Record{})
	}
	if uint64(len(outs)) < relayed || relayed == 0 {
		t.Errorf("%d numbers are there, %d were relayed", len(outs), relayed)
	}
	for n := range uint64(len(outs)) {
		if outs[n+1] != 1 {
			t.Errorf("number %d is there %d times", n+1, outs[n+1])
		}
	}
	t.Logf("%d numbers relayed, %d acknowledged", len(outs), relayed)
}
