package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// output is one to a stream; its id is made of its number.
func output(n int, streamID, key string, size int) triggers.Output {
	return triggers.Output{
		ID: fmt.Sprintf("o%d", n), StreamID: streamID, Stream: "arn:aws:kinesis:us-east-1:000000000000:stream/" + streamID,
		PartitionKey: key, Data: bytes.Repeat([]byte{byte(n)}, size), TraceParent: fmt.Sprintf("00-%d", n),
	}
}

type stored struct {
	at dlq.Position
	o  triggers.Output
}

// cargo is all of source0 that is not confirmed.
func cargo(t testing.TB, s *Store, src triggers.Source) (outputs []stored, redriven []string) {
	t.Helper()
	mark, upTo, err := s.Pending(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Read(context.Background(), src, mark, upTo, func(sequence uint64, c Cargo) error {
		for i, o := range c.Outputs {
			outputs = append(outputs, stored{dlq.Position{Sequence: sequence, Index: uint32(i)}, o})
		}
		redriven = append(redriven, c.Redriven...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return outputs, redriven
}

func outputIDs(all []stored) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteString(s.o.ID + " ")
	}
	return strings.TrimSpace(b.String())
}

func commitCargo(t testing.TB, j *Journal, next uint64, c Cargo) {
	t.Helper()
	if err := j.Commit(context.Background(), triggers.Checkpoint{Next: next}, c); err != nil {
		t.Fatal(err)
	}
}

// MECHANISMS: a commit stores its outputs sorted by (target stream, hash key),
// stable in emission order; a position is (journal sequence, index in that order).
func TestOutputsAreStoredByStreamAndHashKeyInOrderOfEmission(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	keys := []string{"a", "b", "c", "d"}
	slices.SortFunc(keys, func(a, b string) int { return stream.HashOf(a).Compare(stream.HashOf(b)) })
	var emitted []triggers.Output
	for n := range 40 {
		emitted = append(emitted, output(n, []string{"y", "x"}[n%2], keys[rand.IntN(4)], n))
	}
	c := Cargo{Outputs: slices.Clone(emitted), Trigger: "quakes", Redriven: []string{"r-1", "r-2"}, Letters: []dlq.Letter{dead(3, 10)}}
	commitCargo(t, j, 2, c)
	if !reflect.DeepEqual(c.Outputs, emitted) {
		t.Error("the caller's outputs were changed")
	}
	var want []triggers.Output
	for _, id := range []string{"x", "y"} {
		for _, key := range keys {
			for _, o := range emitted {
				if o.StreamID == id && o.PartitionKey == key {
					want = append(want, o)
				}
			}
		}
	}
	for range 2 {
		err := s.Read(context.Background(), source0, 0, 9, func(sequence uint64, got Cargo) error {
			if sequence != 2 || got.Trigger != "quakes" || !slices.Equal(got.Redriven, c.Redriven) || len(got.Letters) != 1 || got.Letters[0].Number != 3 {
				t.Errorf("commit %d: %+v", sequence, got)
			}
			if len(got.Outputs) != len(want) {
				t.Fatalf("%d outputs, want %d", len(got.Outputs), len(want))
			}
			for i, o := range got.Outputs {
				if o.ID != want[i].ID || o.StreamID != want[i].StreamID || o.Stream != want[i].Stream || o.PartitionKey != want[i].PartitionKey ||
					o.TraceParent != want[i].TraceParent || !bytes.Equal(o.Data, want[i].Data) {
					t.Errorf("place %d: %+v, want %+v", i, o, want[i])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s = Open(srv, Options{}) // as after a restart
	}
	// Those of one stream have the places that they have among all.
	var places []uint32
	err := s.Outputs(context.Background(), source0, "y", 0, 9, func(at dlq.Position, trigger string, all []triggers.Output) error {
		for i, o := range all {
			if at.Index+uint32(i) >= 40 || o.ID != want[at.Index+uint32(i)].ID || trigger != "quakes" {
				t.Errorf("place %d: %+v of %s", at.Index+uint32(i), o, trigger)
			}
			places = append(places, at.Index+uint32(i))
		}
		return nil
	})
	if err != nil || len(places) != 20 || places[0] != 20 || places[19] != 39 {
		t.Errorf("outputs to y have places %v, %v", places, err)
	}
}

func TestOutputsOfMoreThanOneMiBAreInBlobs(t *testing.T) {
	srv, s := fresh(t)
	l := ledger.At(srv, "J_"+mapping)
	j, _ := take(t, s, source0)
	c := Cargo{Letters: []dlq.Letter{dead(1, 600<<10)}, Redriven: []string{"r"}}
	for n := range 5 {
		c.Outputs = append(c.Outputs, output(n, "x", "k", 300<<10))
	}
	commitCargo(t, j, 2, c)
	blobs := 0
	err := l.Scan(context.Background(), "j.*.b.>", 1, 1000, func(e ledger.Entry) error {
		if blobs++; len(e.Data) > maxBlob {
			t.Errorf("blob of %d bytes", len(e.Data))
		}
		return nil
	})
	e, _, _ := l.Last(context.Background(), j.subject)
	if err != nil || blobs < 5 || len(e.Data) > 4096 {
		t.Errorf("%d blobs, %v, beside a commit of %d bytes", blobs, err, len(e.Data))
	}
	commitCargo(t, j, 3, Cargo{Outputs: []triggers.Output{output(7, "x", "k", 10)}})
	// What a commit before the one with the blobs confirms must not take them away.
	s = Open(srv, Options{})
	if _, _, err := s.Take(context.Background(), source0, ""); err != nil {
		t.Fatal(err)
	}
	trim(t, s)
	got, redriven := cargo(t, s, source0)
	if outputIDs(got) != "o0 o1 o2 o3 o4 o7" || !slices.Equal(redriven, []string{"r"}) || numbers(letters(t, s, source0)) != "1" {
		t.Errorf("outputs = %s, redriven = %s", outputIDs(got), redriven)
	}
	for n := range 5 {
		if !bytes.Equal(got[n].o.Data, bytes.Repeat([]byte{byte(n)}, 300<<10)) {
			t.Errorf("output %d has other data", n)
		}
	}
	confirm(t, s, got[0].at.Sequence)
	trim(t, s)
	if n := counts(t, s); n != [3]uint64{1, 0, 1} {
		t.Errorf("confirmed: %v, want the newest commit and the mark", n)
	}
}

// These bytes were written before there were outputs.
func TestCommitsOfTheFirstFormatAreRead(t *testing.T) {
	const (
		withLetter = "574a0101d275c585addd85fc78f6ebf17c06e3de0001010a7b226e657874223a327d0204746573740591038a037b226964223a226a326a333679733074642d3131222c2274726967676572223a2274222c226d617070696e67223a2231663063316432652d303030302d343030302d383030302d303030303030303030303031222c2267656e65726174696f6e223a312c2273747265616d223a22222c2273747265616d4964223a22222c227368617264223a2273686172644964" +
			"2d303030303030303030303030222c2273657175656e6365223a22222c226e756d626572223a312c22706172746974696f6e4b6579223a22222c226172726976616c223a22303030312d30312d30315430303a30303a30305a222c22726561736f6e223a225265747279417474656d707473457868617573746564222c22617474656d707473223a302c22627572696564223a22323032332d31312d31345432323a31333a32305a222c2262757269616c223a312c2266756e6374696f6e223a22222c2276657273696f6e223a22222c22646967657374223a22222c226261746368223a7b22706f736974696f6e223a302c2273697a65223a307d7d04626f6f6d00ae8a425e"
		progress = "574a0101d124e7253e7b07ea3ca55098ce409a230100010a7b226e657874223a337d020474657374030b000100000000000000040200383c6615"
	)
	srv, s := fresh(t)
	for i, text := range []string{withLetter, progress} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.At(srv, "J_"+mapping).Append(context.Background(), subject(kindCommit, source0), uint64(i), b); err != nil {
			t.Fatal(err)
		}
	}
	j, cp := take(t, s, source0)
	if want := (triggers.Checkpoint{Next: 3, Finished: []triggers.Span{{Buckets: 1, From: 4, To: 6}}}); !reflect.DeepEqual(*cp, want) || j.Epoch() != 2 {
		t.Errorf("checkpoint = %+v, epoch %d", cp, j.Epoch())
	}
	if n, b := s.Backlog(source0); n != 0 || b != 0 {
		t.Errorf("backlog = %d, %d", n, b)
	}
	commitCargo(t, j, 4, Cargo{Outputs: []triggers.Output{output(1, "x", "k", 1)}})
	if got := letters(t, s, source0); numbers(got) != "1" || string(got[0].data) != "boom" {
		t.Errorf("letters = %+v", got)
	}
	if got, _ := cargo(t, s, source0); outputIDs(got) != "o1" {
		t.Errorf("outputs = %s", outputIDs(got))
	}
}

// These were written before there were notices.
func TestCommitsWithOutputsOfTheFirstFormatAreRead(t *testing.T) {
	const text = "574a0101c2d2e6b5909c7cdfc9d27ea2698f4606000001447b226e657874223a342c227265647269766573223a5b7b226c223a22622d31222c2262223a302c2273223a22303030312d30312d30315430303a30303a30305a227d5d7d0204746573740916017401780561726e3a78010e01790561726e3a79010a0f0403612d310b18026f31016b0430302d31036f6e65026f32016b000374776f009cdb0e0b"
	srv, s := fresh(t)
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.At(srv, "J_"+mapping).Append(context.Background(), subject(kindCommit, source0), 0, b); err != nil {
		t.Fatal(err)
	}
	j, cp := take(t, s, source0)
	if cp.Next != 4 || len(cp.Redrives) != 1 || cp.Redrives[0].Letter != "b-1" {
		t.Errorf("checkpoint = %+v", cp)
	}
	if n, b := s.Backlog(source0); n != 2 || b != 24 {
		t.Errorf("backlog = %d, %d", n, b)
	}
	if n, b := s.NoticeBacklog(source0); n != 0 || b != 0 {
		t.Errorf("backlog of notices = %d, %d", n, b)
	}
	commitCargo(t, j, 5, Cargo{Notices: []triggers.Notice{notice(1, "d", 1)}})
	if got, redriven := cargo(t, s, source0); outputIDs(got) != "o1 o2" || string(got[1].o.Data) != "two" || !slices.Equal(redriven, []string{"a-1"}) {
		t.Errorf("outputs = %+v, redriven %v", got, redriven)
	}
	if got := notices(t, s, source0, "d"); !slices.Equal(got, []int{1}) {
		t.Errorf("notices = %v", got)
	}
}

func TestRedrivesOfACheckpointAreReadBack(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	want := triggers.Checkpoint{Next: 1, Redrives: []triggers.Redrive{{Letter: "a-1", Bucket: 63, Attempts: 2}, {Letter: "b-1", LastError: triggers.Failure{Message: "no"}}}}
	commitOK(t, j, want)
	if _, cp := take(t, Open(srv, Options{}), source0); !reflect.DeepEqual(*cp, want) {
		t.Errorf("checkpoint = %+v, want %+v", *cp, want)
	}
}

func TestOutputsThatCannotBeToldApartAreRefused(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	for _, o := range []triggers.Output{{StreamID: "x"}, {ID: "o"}, {ID: "o", StreamID: "a.b"}} {
		if err := j.Commit(context.Background(), triggers.Checkpoint{}, Cargo{Outputs: []triggers.Output{o}}); !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", o, err)
		}
	}
}

func TestALetterThatIsBuriedAgainStaysOfItsSource(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	l := dead(7, 1)
	l.Mapping, l.Generation, l.Shard, l.Burial = mapping, 9, "shardId-000000000009", 2
	commitOK(t, j, triggers.Checkpoint{Next: 1}, l)
	err := s.Letters(context.Background(), source0, 0, 9, func(_ dlq.Position, got dlq.Letter) error {
		if got.Generation != 9 || got.Shard != l.Shard || got.ID != dlq.LetterID(mapping, 9, l.Shard, 7, 2) {
			t.Errorf("letter = %+v", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCargoIsStoredOnceWhateverBecomesOfAcknowledgements has commits lose messages
// and acknowledgements, callers give up, and come back with more.
func TestCargoIsStoredOnceWhateverBecomesOfAcknowledgements(t *testing.T) {
	srv, s := freshWith(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		src := triggers.Source{Mapping: mapping, Generation: int(seed), Shard: "s"}
		j, _ := take(t, s, src)
		var late func() (uint64, error)
		var giveUp context.CancelFunc
		s.wrap = func(send func() (uint64, error)) (uint64, error) {
			switch fate := rnd.IntN(10); fate {
			case 0, 1: // stored, and nobody hears of it
				_, _ = send()
				if fate == 0 {
					giveUp()
				}
				return 0, errLost
			case 2, 3:
				if fate == 2 {
					giveUp()
				}
				return 0, errLost
			case 4:
				late = send
				return 0, errLost
			}
			if late != nil {
				_, _ = late()
				late = nil
			}
			return send()
		}
		var open Cargo // not acknowledged
		n, next := 0, uint64(0)
		for n < 60 {
			for range rnd.IntN(3) {
				open.Outputs = append(open.Outputs, output(n, []string{"x", "y"}[rnd.IntN(2)], fmt.Sprint(rnd.IntN(5)), 3))
				open.Letters = append(open.Letters, dead(uint64(n), 1))
				open.Redriven = append(open.Redriven, fmt.Sprintf("s%d-%d", seed, n))
				open.Notices = append(open.Notices, notice(n, []string{"d", "e"}[rnd.IntN(2)], 3))
				n++
			}
			next++
			ctx, cancel := context.WithCancel(context.Background())
			giveUp = cancel
			err := j.Commit(ctx, triggers.Checkpoint{Next: next}, open)
			cancel()
			if errors.Is(err, triggers.ErrFenced) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err == nil {
				open = Cargo{}
			}
		}
		s.wrap = nil
		if err := j.Commit(context.Background(), triggers.Checkpoint{Next: next + 1}, open); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		backlog, _ := s.Backlog(src)
		told, _ := s.NoticeBacklog(src)
		restarted := Open(srv, Options{})
		if d, e := notices(t, restarted, src, "d"), notices(t, restarted, src, "e"); len(d)+len(e) != n || told != n || !slices.IsSorted(d) || !slices.IsSorted(e) {
			t.Errorf("seed %d: notices %d, %d, backlog %d; want %d, in order", seed, d, e, told, n)
		}
		outputs, redriven := cargo(t, restarted, src)
		seen := map[string]bool{}
		for _, o := range outputs {
			seen[o.o.ID] = true
		}
		if len(outputs) != n || len(seen) != n || backlog != n {
			t.Errorf("seed %d: %d outputs, %d different, backlog %d; want %d", seed, len(outputs), len(seen), backlog, n)
		}
		slices.Sort(redriven)
		if len(redriven) != n || len(slices.Compact(redriven)) != n {
			t.Errorf("seed %d: %d redriven, want %d", seed, len(redriven), n)
		}
		if got := letters(t, restarted, src); len(got) != n {
			t.Errorf("seed %d: %d letters, want %d", seed, len(got), n)
		}
		for _, s := range []*Store{s, restarted} {
			_, settled, err := s.Ties(context.Background())
			maps.DeleteFunc(settled, func(id string, _ bool) bool { return !strings.HasPrefix(id, fmt.Sprintf("s%d-", seed)) })
			if err != nil || len(settled) != n {
				t.Errorf("seed %d: %d settled, %v; want %d", seed, len(settled), err, n)
			}
		}
		if _, _, err := restarted.Take(context.Background(), src, ""); err != nil {
			t.Fatal(err)
		}
		if again, _ := restarted.Backlog(src); again != n {
			t.Errorf("seed %d: backlog after a restart = %d, want %d", seed, again, n)
		}
		if again, _ := restarted.NoticeBacklog(src); again != n {
			t.Errorf("seed %d: notices after a restart = %d, want %d", seed, again, n)
		}
		_, upTo, _ := s.Pending(context.Background(), src)
		if err := s.Confirm(context.Background(), src, upTo); err != nil {
			t.Fatal(err)
		}
		if _, settled, err := s.Ties(context.Background()); len(settled) > 0 || err != nil {
			t.Errorf("seed %d: confirmed: settled %v, %v", seed, settled, err)
		}
	}
}

func TestBacklogCountsOutputsThatAreNotConfirmed(t *testing.T) {
	srv, s := fresh(t)
	want := func(outputs int, bytes int64) {
		t.Helper()
		// Each has id, key, trace parent, data and their lengths.
		if bytes += int64(outputs) * (2 + 4 + 4); bytes > 1<<20 {
			bytes += 3 // a length of four bytes
		}
		if n, b := s.Backlog(source0); n != outputs || b != bytes {
			t.Errorf("backlog = %d, %d bytes; want %d, %d", n, b, outputs, bytes)
		}
	}
	want(0, 0)
	j, _ := take(t, s, source0)
	commitCargo(t, j, 1, Cargo{Outputs: []triggers.Output{output(1, "x", "key", 10), output(2, "y", "key", 20)}}) // commit 1
	want(2, 36)
	commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 1))                                                       // 2
	commitCargo(t, j, 3, Cargo{Outputs: []triggers.Output{output(3, "x", "key", 2<<20)}, Redriven: []string{"r"}}) // blobs 3..7, commit 8
	want(3, 36+2<<20+3)
	for range 2 {
		s = Open(srv, Options{})
		take(t, s, source0)
		want(3, 36+2<<20+3)
	}
	confirm(t, s, 2)
	want(1, 2<<20+3)
	confirm(t, s, 1)
	want(1, 2<<20+3)
	s = Open(srv, Options{})
	j, _ = take(t, s, source0)
	want(1, 2<<20+3)
	commitCargo(t, j, 4, Cargo{Outputs: []triggers.Output{output(4, "x", "k", 0)}})
	want(2, 2<<20+4)
	_, upTo, _ := s.Pending(context.Background(), source0)
	confirm(t, s, upTo)
	want(0, 0)
}

func TestTiesTellWhatIsUnderWayAndWhatIsSettled(t *testing.T) {
	srv, s := fresh(t)
	want := func(under, settled string) {
		t.Helper()
		// The owner's process, and one in which nobody has taken the source.
		for i, s := range []*Store{s, Open(srv, Options{})} {
			u, d, err := s.Ties(context.Background())
			text := func(ids map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(ids)), " ") }
			if got := text(u) + "|" + text(d); err != nil || got != under+"|"+settled {
				t.Errorf("store %d: %s, %v; want %s|%s", i, got, err, under, settled)
			}
			for _, id := range []string{"a", "b", "c"} {
				if one, done, err := s.Ties(context.Background(), id); one[id] != u[id] || done[id] != d[id] || len(one)+len(done) > 1 || err != nil {
					t.Errorf("store %d: %s: %v, %v, %v", i, id, one, done, err)
				}
			}
		}
	}
	want("", "")
	j, _ := take(t, s, source0)
	under := func(ids ...string) (cp triggers.Checkpoint) {
		for _, id := range ids {
			cp.Redrives = append(cp.Redrives, triggers.Redrive{Letter: id})
		}
		return cp
	}
	commitOK(t, j, under("a", "b"))
	want("a b", "")
	if err := j.Commit(context.Background(), under("b"), Cargo{Redriven: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	want("b", "a")
	// Its caller goes away and hears nothing; it is there all the same.
	ctx, cancel := context.WithCancel(context.Background())
	s.wrap = func(send func() (uint64, error)) (uint64, error) {
		_, _ = send()
		cancel()
		return 0, errLost
	}
	if err := j.Commit(ctx, under(), Cargo{Redriven: []string{"b"}}); err == nil {
		t.Fatal("commit did not fail")
	}
	s.wrap = nil
	want("", "a b")
	confirm(t, s, 2)
	want("", "b")
	confirm(t, s, 3)
	want("", "")
	if err := s.Delete(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	want("", "")
}

func TestDeleteWaitsForOutputsNoticesAndRedrives(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	for i, c := range []Cargo{{Outputs: []triggers.Output{output(1, "x", "k", 1)}}, {Redriven: []string{"r"}}, {Notices: []triggers.Notice{notice(1, "d", 1)}}} {
		commitCargo(t, j, uint64(i), c)
		if err := s.Delete(context.Background(), mapping); !errors.Is(err, ErrUnrelayed) {
			t.Fatalf("delete with %+v = %v, want ErrUnrelayed", c, err)
		}
		j, _ = take(t, s, source0)
		_, upTo, _ := s.Pending(context.Background(), source0)
		confirm(t, s, upTo)
	}
	if err := s.Delete(context.Background(), mapping); err != nil {
		t.Error(err)
	}
}

func TestMarkThatIsBeingWrittenConfirmsNothingYet(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	for i := range 3 {
		commitCargo(t, j, uint64(i), Cargo{Redriven: []string{fmt.Sprint(i)}})
	}
	confirm(t, s, 1)
	// As if the next mark were visible and its acknowledgement lost.
	sequence, _, err := s.mark(context.Background(), source0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ledger(mapping).Append(context.Background(), subject(kindMark, source0), sequence, encodeMark(2)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Confirmed(context.Background(), source0); got != 1 || err != nil {
		t.Errorf("confirmed = %d, %v; want 1", got, err)
	}
	if got, err := Open(srv, Options{}).Confirmed(context.Background(), source0); got != 2 || err != nil {
		t.Errorf("after a restart: confirmed = %d, %v; want 2", got, err)
	}
	confirm(t, s, 2)
	if got, err := s.Confirmed(context.Background(), source0); got != 2 || err != nil {
		t.Errorf("confirmed = %d, %v; want 2", got, err)
	}
}

func FuzzDecodeOutputs(f *testing.F) {
	head, wire := appendOutputs("t", []triggers.Output{output(1, "x", "k", 9), output(2, "x", "l", 0), output(3, "y", "k", 3)})
	f.Add(head, wire)
	f.Add(head, wire[1:])
	f.Fuzz(func(t *testing.T, head, wire []byte) {
		r := &reader{b: head}
		x := readIndex(r)
		if r.err != nil {
			return
		}
		out, err := readOutputs(&x, wire)
		if err == nil && len(out) > 0 {
			again, wireAgain := appendOutputs(x.trigger, out)
			rr := &reader{b: again}
			if xx := readIndex(rr); rr.err != nil || xx.outputs() != len(out) || len(wireAgain) > len(wire) {
				t.Errorf("%d outputs became %d", len(out), xx.outputs())
			}
		}
	})
}
