package history

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// family is a run that keeps every promise over a split and a merge: p becomes l and
// h, which become m. There are four records of each of two keys, one of which
// belongs to l and the other to h: in p, in l or h, and two in m. Every record is
// emitted once with its key. A kill comes between the durable commit that ends p and
// its line.
func family() []Event {
	low, high := keysOf()
	var h []Event
	n := 0
	where := map[int]Event{} // by record
	put := func(shard string, number uint64, key string) {
		e := Event{Req: fmt.Sprint(n), Stream: "in", Shard: shard, Seq: seq(n), Key: key, Hash: fmt.Sprint("h", n), Number: number}
		where[n] = e
		e.Kind, e.Shard, e.Seq, e.Number = Put, "", "", 0
		h = append(h, e)
		e = where[n]
		e.Kind, e.Key, e.Number = PutOK, "", 0
		h = append(h, e)
		n++
	}
	lane := func(e Event, shard string) Event {
		e.Trigger, e.Gen, e.Stream, e.Shard = "t", 1, "in", shard
		return e
	}
	work := func(id string, numbers ...int) {
		e := lane(Event{Kind: Inv, ID: id}, where[numbers[0]].Shard)
		for _, i := range numbers {
			e.Seqs = append(e.Seqs, seq(i))
		}
		h = append(h, e, Event{Kind: InvEnd, ID: id, Outcome: "done"})
	}
	ckpt := func(shard, result string, epoch, to uint64, ended bool, numbers ...int) {
		e := lane(Event{Kind: Ckpt, Epoch: epoch, To: to, Result: result, Ended: ended}, shard)
		for _, i := range numbers {
			e.Out = append(e.Out, OutName("out", fmt.Sprint("o", i)))
		}
		h = append(h, e)
	}
	taken := func(shard string, epoch, to uint64) {
		h = append(h, lane(Event{Kind: Take, Epoch: epoch, To: to}, shard))
	}
	put("p", 0, low)
	put("p", 1, high)
	taken("p", 1, 0)
	put("l", 0, low)
	work("1", 0, 1)
	put("h", 0, high)
	ckpt("p", "asked", 1, 2, true, 0, 1)
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"})
	taken("h", 1, 0)
	work("2", 3)
	ckpt("h", "asked", 1, 1, false, 3)
	ckpt("h", "ok", 1, 1, false, 3)
	taken("l", 1, 0)
	put("m", 0, low)
	put("m", 1, high)
	work("3", 2)
	ckpt("l", "ok", 1, 1, true, 2)
	ckpt("h", "ok", 1, 1, true)
	taken("m", 1, 0)
	put("m", 2, high)
	put("m", 3, low)
	work("4", 4, 5)
	work("5", 6, 7)
	ckpt("m", "ok", 1, 4, false, 4, 5, 6, 7)
	for i := range n {
		e := where[i]
		e.Kind, e.Req = Read, ""
		h = append(h, e)
	}
	for i, id := range []int{0, 1, 3, 2, 4, 5, 6, 7} {
		h = append(h, Event{Kind: Read, Stream: "out", Shard: "s", Seq: seq(i), Number: uint64(i), Key: where[id].Key, Hash: "same", ID: fmt.Sprint("o", id)})
	}
	half := new(big.Int).Lsh(big.NewInt(1), 127)
	full := new(big.Int).Lsh(big.NewInt(1), 128)
	one := big.NewInt(1)
	below, top := new(big.Int).Sub(half, one).String(), new(big.Int).Sub(full, one).String()
	return append(h,
		Event{Kind: Shard, Stream: "in", Shard: "p", Low: "0", High: top},
		Event{Kind: Shard, Stream: "in", Shard: "l", Parents: []string{"p"}, Low: "0", High: below},
		Event{Kind: Shard, Stream: "in", Shard: "h", Parents: []string{"p"}, Low: half.String(), High: top},
		Event{Kind: Shard, Stream: "in", Shard: "m", Parents: []string{"l", "h"}, Low: "0", High: top},
	)
}

// keysOf are a key of the lower half of all hash keys and one of the upper half.
func keysOf() (low, high string) {
	half := new(big.Int).Lsh(big.NewInt(1), 127).String()
	for i := 0; low == "" || high == ""; i++ {
		if key := fmt.Sprint("k", i); compare(hashKey(key), half) < 0 {
			low = key
		} else {
			high = key
		}
	}
	return low, high
}

func familyOptions() Options {
	return Options{Retries: -1, Complete: true, Triggers: []Trigger{{"t", "in"}}, UniquePayloads: true}
}

func TestSoundSplitsAndMergesPass(t *testing.T) {
	if v := checkWith(t, family(), familyOptions()); len(v) > 0 {
		t.Errorf("violations in a sound history: %v", v)
	}
	// The first trigger to see the stream finds p closed and empty of what it wants.
	h := family()
	h = append(h[:len(h):len(h)], Event{Kind: Shard, Stream: "in", Shard: "q", Parents: []string{"gone"}})
	if v := checkWith(t, h, familyOptions()); len(v) > 0 {
		t.Errorf("a shard whose parent has expired: %v", v)
	}
}

// Two kills come between a commit and its line, and only the second of the two
// commits with the same outputs was durable.
func TestOutputsOfACommitThatWasAskedForTwiceAreInOrder(t *testing.T) {
	h := family()
	i := slices.IndexFunc(h, func(e Event) bool { return e.Kind == Ckpt && e.Shard == "m" })
	asked := h[i]
	asked.Result = "asked"
	fault := Event{Kind: Fault, Reason: "SIGKILL"}
	taken := func(epoch, to uint64) Event {
		return Event{Kind: Take, Trigger: "t", Gen: 1, Stream: "in", Shard: "m", Epoch: epoch, To: to}
	}
	again := slices.Clone(h[i-4 : i])
	for j := range again {
		again[j].ID += "'"
	}
	h = slices.Replace(h, i, i+1, slices.Concat([]Event{asked, fault, taken(2, 0)}, again, []Event{asked, fault, taken(3, 4)})...)
	if v := checkWith(t, h, familyOptions()); len(v) > 0 {
		t.Errorf("violations in a sound history: %v", v)
	}
}

func TestDoctoredSplitsAndMergesAreRejected(t *testing.T) {
	of := func(h []Event, kind Kind, shard string, nth int) int {
		for i, e := range h {
			if e.Kind == kind && e.Shard == shard {
				if nth == 0 {
					return i
				}
				nth--
			}
		}
		panic("no such event")
	}
	move := func(h []Event, from, to, n int) []Event {
		part := slices.Clone(h[from : from+n])
		h = slices.Delete(h, from, from+n)
		return slices.Insert(h, to, part...)
	}
	tests := []struct {
		name, want, text string
		doctor           func(h []Event) []Event
	}{
		{"a child runs before the end of its parent is asked for", "I13", "l: inv", func(h []Event) []Event {
			return move(h, of(h, Inv, "l", 0), of(h, Ckpt, "p", 0), 2)
		}},
		{"a child is taken up before the end of its parent is durable", "I13", "h: take", func(h []Event) []Event {
			return move(h, of(h, Take, "h", 0), of(h, Ckpt, "p", 0), 1)
		}},
		{"a child runs after a commit that was not durable", "I13", "taken up unfinished", func(h []Event) []Event {
			e := h[of(h, Take, "p", 0)]
			return slices.Insert(h, of(h, Ckpt, "l", 0), e)
		}},
		{"the end is asked for, and no kill explains that it has no answer", "I13", "h: take", func(h []Event) []Event {
			i := at(h, Fault, 0)
			return slices.Delete(h, i, i+1)
		}},
		{"a merged shard runs when one of its parents is not finished", "I13", "its parent h", func(h []Event) []Event {
			i := of(h, Ckpt, "h", 2)
			return slices.Delete(h, i, i+1)
		}},
		{"a reader ends before the END", "I13", "1 records lie behind", func(h []Event) []Event { h[of(h, Ckpt, "p", 0)].To = 1; return h }},
		{"a finished shard is taken up again", "I13", "a commit has finished it", func(h []Event) []Event {
			e := h[of(h, Take, "l", 0)]
			e.Epoch, e.To = 2, 1
			return slices.Insert(h, of(h, Ckpt, "h", 2), e)
		}},
		{"a closed shard is never finished", "I13", "never finished", func(h []Event) []Event {
			h = slices.DeleteFunc(h, func(e Event) bool { return e.Trigger != "" && e.Shard == "m" || e.ID == "4" || e.ID == "5" })
			h[of(h, Ckpt, "h", 2)].Ended = false
			return h
		}},
		{"an empty shard is closed and nobody ever takes it up", "I13", "e: is closed and was never finished", func(h []Event) []Event {
			return append(h, Event{Kind: Shard, Stream: "in", Shard: "e"}, Event{Kind: Shard, Stream: "in", Shard: "f", Parents: []string{"e"}})
		}},
		{"a key runs in the child before it is resolved in the parent", "I5", "in p before it", func(h []Event) []Event {
			i := slices.IndexFunc(h, func(e Event) bool { return e.Kind == InvEnd && e.ID == "1" })
			h[i].Outcome = "throttled"
			return h
		}},
		{"a key runs in the merged shard before it is resolved two shards up", "I5", "in p before it", func(h []Event) []Event {
			h[slices.IndexFunc(h, func(e Event) bool { return e.Kind == InvEnd && e.ID == "1" })].Outcome = "throttled"
			return slices.DeleteFunc(h, func(e Event) bool { return e.ID == "2" || e.ID == "3" })
		}},
		{"a key runs in parent and child at a time", "I5", "has that key", func(h []Event) []Event {
			return move(h, slices.IndexFunc(h, func(e Event) bool { return e.Kind == InvEnd && e.ID == "3" }), of(h, Inv, "m", 0)+1, 1)
		}},
		{"a put that races the split is in both shards", "I1", "stored twice", func(h []Event) []Event {
			e := h[of(h, Read, "h", 0)]
			e.Shard, e.Seq, e.Number = "p", seq(1)+"x", 2 // above the last of p, below the first of h
			return slices.Insert(h, of(h, Read, "h", 0), e)
		}},
		{"a put that races the split is in neither", "I1", "is lost", func(h []Event) []Event {
			i := of(h, Read, "m", 3)
			return slices.Delete(h, i, i+1)
		}},
		{"a record is in a shard that its key does not belong to", "I1", "does not belong", func(h []Event) []Event {
			low, high := keysOf()
			for i := range h {
				if h[i].Req == "2" || h[i].Hash == "h2" {
					h[i].Key = strings.ReplaceAll(h[i].Key, low, high)
				}
			}
			return h
		}},
		{"a child's numbers begin below its parent's", "I1", "is not above", func(h []Event) []Event {
			for i := range h {
				if h[i].Seq == seq(2) {
					h[i].Seq = seq(0)[:55] + "5"
				}
				for j := range h[i].Seqs {
					if h[i].Seqs[j] == seq(2) {
						h[i].Seqs[j] = seq(0)[:55] + "5"
					}
				}
			}
			h[of(h, Read, "p", 1)].Seq = seq(0)[:55] + "9"
			return h
		}},
		{"a later put of a key gets a smaller number", "I5", "acknowledged before it was put", func(h []Event) []Event {
			a, b := of(h, PutOK, "m", 1), of(h, PutOK, "m", 2) // of the key of the upper half
			h[a].Seq, h[b].Seq = h[b].Seq, h[a].Seq
			return h
		}},
		{"outputs of a key are there in another order than a shard has committed them", "I5", "stands before", func(h []Event) []Event {
			i, j := len(h)-4-2, len(h)-4-3 // o6 is of the key of o5
			h[i].ID, h[j].ID = h[j].ID, h[i].ID
			return h
		}},
		{"outputs of a child stand before those of its parent", "I5", "stands before", func(h []Event) []Event {
			i, j := len(h)-4-8, len(h)-4-5 // o0 and o2
			h[i].ID, h[j].ID = h[j].ID, h[i].ID
			return h
		}},
		{"an output is in the target's shard that was closed and in one that came from it", "I7", "visible 2 times", func(h []Event) []Event {
			e := h[len(h)-4-1]
			e.Shard, e.Seq, e.Number = "s2", seq(50), 0
			return append(h, e)
		}},
		{"an output is in neither of them", "I7", "nowhere to be seen", func(h []Event) []Event {
			i := len(h) - 4 - 1
			return slices.Delete(h, i, i+1)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := checkWith(t, tt.doctor(family()), familyOptions())
			if !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == tt.want && strings.Contains(v.Text, tt.text) }) {
				t.Errorf("violations = %v, want one of %s with %q", v, tt.want, tt.text)
			}
		})
	}
}
