package poll

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/relay"
)

const windowDir = "WASMILL_TEST_WINDOW_VICTIM"

// windowVictim adds records up in tumbling windows of a second, and puts new ones, until it is
// killed. It prints what is acknowledged. With the second argument it puts nothing, works off what is
// left, and prints the windows' results.
func windowVictim(dir string) error {
	ctx := context.Background()
	last := os.Getenv(windowDir+"_LAST") != ""
	srv, err := natsd.Start(ctx, natsd.Options{Dir: dir})
	if err != nil {
		return err
	}
	streams, err := natsstream.Open(ctx, srv, log.New(srv, log.Options{}), natsstream.Options{})
	if err != nil {
		return err
	}
	for _, name := range []string{"s", "out"} {
		if _, err := streams.Create(ctx, stream.Local(name), stream.Config{Shards: 1}); err != nil && !errors.Is(err, stream.ErrExists) {
			return err
		}
	}
	journals := journal.Open(srv, journal.Options{})
	graves, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		return err
	}
	carrier := relay.New(srv, journals, graves, streams, nil)
	go func() { _ = carrier.Run(ctx) }()
	mappings, err := kv.Open[triggers.Mapping](ctx, srv, "mappings")
	if err != nil {
		return err
	}
	sums := &recorder{emit: true}
	fn := &function{handler: func(inv *runtime.Invocation) runtime.Result {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		if rand.IntN(10) == 0 {
			return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "Oops"}
		}
		return sums.handle(inv)
	}}
	m := New(Deps{Streams: streams, Journals: journals, Mappings: mappings, Invoker: fn, Relay: carrier, Letters: graves, Functions: fn})
	if err := m.Start(ctx); err != nil {
		return err
	}
	if _, err := m.Create(ctx, "t", from(triggers.Config{BatchSize: 3, Tumbling: time.Second}), true); err != nil && !errors.Is(err, triggers.ErrExists) {
		return err
	}
	fmt.Println("ready")
	for n := 0; !last; n++ {
		data := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if res, err := streams.Put(ctx, stream.Local("s"), []stream.Entry{{PartitionKey: "k", Data: []byte(data)}}); err != nil || res[0].Err != nil {
			return fmt.Errorf("%v %v", err, res)
		}
		fmt.Println("put", data)
		time.Sleep(5 * time.Millisecond)
	}
	// What is left is worked off, and the last window ends.
	for {
		st, err := m.Status(ctx, "t")
		if err != nil {
			return err
		}
		if s := st.Shards[0]; s.Lag == 0 && s.Machine != nil && s.Machine.Window == nil && s.Machine.Out == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	mp, err := m.Get(ctx, "t")
	if err != nil {
		return err
	}
	// The last result is committed when the trigger has stopped, and in its stream when it has arrived.
	if err := errors.Join(m.WaitDrained(ctx, "t"), m.Close(ctx), carrier.Drained(ctx, mp.ID)); err != nil {
		return err
	}
	pos := stream.Position{Kind: stream.TrimHorizon}
	for {
		page, err := streams.Read(ctx, stream.Local("out"), stream.ShardID(0), pos, 1000)
		if err != nil || len(page.Records) == 0 {
			return err
		}
		for _, rec := range page.Records {
			fmt.Printf("sum %s\n", rec.Data)
		}
		pos = page.Next
	}
}

// A kill in mid-window takes nothing from a window's state and adds nothing to it: each record that
// was acknowledged is in exactly one result.
func TestTumblingWindowsSurviveKills(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	put, sums, lives := map[string]bool{}, map[string]int{}, 4
	for life := range lives {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), windowDir+"="+dir)
		if life == lives-1 {
			cmd.Env = append(cmd.Env, windowDir+"_LAST=yes")
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, n := bufio.NewScanner(out), 0
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var what, data string
			if _, err := fmt.Sscan(lines.Text(), &what, &data); err != nil {
				continue
			}
			switch what {
			case "put":
				put[data] = true
				if n++; n == 150+rand.IntN(100) || n == 250 {
					_ = cmd.Process.Kill() // what it has printed until then is read
				}
			case "sum":
				var sum struct {
					Seen []string `json:"seen"`
				}
				if err := json.Unmarshal([]byte(data), &sum); err != nil {
					t.Fatal(err)
				}
				for _, d := range sum.Seen {
					sums[d]++
				}
			}
		}
		if err := cmd.Wait(); err != nil && life == lives-1 {
			t.Fatal(err)
		}
	}
	if len(put) < 450 {
		t.Errorf("%d records were put: too few to prove anything", len(put))
	}
	for d := range put {
		if sums[d] != 1 {
			t.Errorf("record %s is in %d results", d, sums[d])
		}
	}
	for d, n := range sums {
		if n != 1 {
			t.Errorf("record %s, stored or not, is in %d results", d, n)
		}
	}
	t.Logf("%d records, %d lives", len(put), lives)
}
