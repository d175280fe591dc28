package history

import (
	"fmt"
	"slices"
	"testing"
)

// loop is a run that keeps every promise, with outputs and redrives: records 0 to
// 3 of keys a, b, a, a, where 0 and 2 are poison until the function is mended. Both
// are buried and redriven; 2 fails again and is redriven once more; a kill comes
// between the durable commit that ends it and its line.
func loop() []Event {
	keys := []string{"a", "b", "a", "a"}
	var h []Event
	for i, k := range keys {
		h = append(h, Event{Kind: Put, Req: fmt.Sprint(i), Key: k, Hash: fmt.Sprint("h", i)},
			Event{Kind: PutOK, Req: fmt.Sprint(i), Stream: "in", Shard: "s", Seq: seq(i), Hash: fmt.Sprint("h", i)})
	}
	ckpt := func(result string, epoch, to uint64, e Event) {
		e.Kind, e.Trigger, e.Gen, e.Stream, e.Shard, e.Epoch, e.To, e.Result = Ckpt, "t", 1, "in", "s", epoch, to, result
		h = append(h, e)
	}
	taken := func(epoch, to uint64, redriving ...string) {
		e := take(epoch, to)
		e.Redriving = redriving
		h = append(h, e)
	}
	letter := func(inv, id, outcome string, number int) {
		e := run(inv, outcome, number)
		e[0].Letter = id
		h = append(h, e...)
	}
	taken(1, 0)
	h = append(h, run("1", "error", 0)...)
	h = append(h, run("2", "error", 0)...)
	buried := Event{Dead: []string{seq(0)}, DeadIDs: []string{"L0"}}
	ckpt("asked", 1, 1, buried)
	ckpt("ok", 1, 1, buried)
	h = append(h, run("3", "done", 1)...)
	ckpt("ok", 1, 2, Event{Out: []string{"out/1.0", "out/1.1"}})
	h = append(h, run("4", "error", 2)...)
	h = append(h, run("5", "error", 2)...)
	ckpt("ok", 1, 3, Event{Dead: []string{seq(2)}, DeadIDs: []string{"L2"}})
	ckpt("ok", 1, 3, Event{Redriving: []string{"L0", "L2"}})
	letter("6", "L0", "done", 0)
	letter("7", "L2", "error", 2)
	ckpt("ok", 1, 3, Event{Redriving: []string{"L2"}, Redriven: []string{"L0"}, Out: []string{"out/0.0"}})
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"})
	taken(2, 3, "L2")
	letter("8", "L2", "timeout", 2)
	ckpt("ok", 2, 3, Event{Redriven: []string{"L2"}, Again: []string{"L2'"}})
	h = append(h, run("9", "done", 3)...)
	ckpt("asked", 2, 4, Event{Out: []string{"out/3.0"}})
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"}) // it was not durable
	taken(3, 3)
	h = append(h, run("10", "done", 3)...)
	ckpt("ok", 3, 4, Event{Redriving: []string{"L2'"}, Out: []string{"out/3.0"}})
	letter("11", "L2'", "done", 2)
	ckpt("asked", 3, 4, Event{Redriven: []string{"L2'"}, Out: []string{"out/2.0", "out/2.1"}})
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"}) // it was
	taken(4, 4)
	for i, k := range keys {
		h = append(h, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(i), Number: uint64(i), Key: k, Hash: fmt.Sprint("h", i)})
	}
	for i, id := range []string{"1.0", "1.1", "0.0", "2.0"} {
		h = append(h, Event{Kind: Read, Stream: "out", Shard: "s", Seq: seq(i), Number: uint64(i), Key: "k", Hash: "same", ID: id})
	}
	return append(h, Event{Kind: Seen, Stream: "out", ID: "2.1"}, Event{Kind: Seen, Stream: "out", ID: "3.0"})
}

func loopOptions() Options {
	return Options{
		Poison: func(h string) bool { return h == "h0" || h == "h2" }, Retries: 1, BatchSize: 1,
		Complete: true, Triggers: []Trigger{{"t", "in"}}, UniquePayloads: true, Repeats: 2,
	}
}

func TestSoundRedrivesAndOutputsPass(t *testing.T) {
	if v := checkWith(t, loop(), loopOptions()); len(v) > 0 {
		t.Errorf("violations in a sound history: %v", v)
	}
}

func TestDoctoredRedrivesAndOutputsAreRejected(t *testing.T) {
	remove := func(h []Event, i int) []Event { return slices.Delete(h, i, i+1) }
	named := func(h []Event, id string) int {
		return slices.IndexFunc(h, func(e Event) bool { return e.Kind == Inv && e.ID == id })
	}
	commit := func(h []Event, what func(Event) bool) int {
		return slices.IndexFunc(h, func(e Event) bool { return e.Kind == Ckpt && e.Result == "ok" && what(e) })
	}
	letter := func(inv, id, outcome string, number int) []Event {
		e := run(inv, outcome, number)
		e[0].Letter = id
		return e
	}
	ends := func(id string) func(Event) bool {
		return func(e Event) bool { return slices.Contains(e.Redriven, id) }
	}
	// lastTake is where the journal is taken up after the commit without a line.
	lastTake := func(h []Event) int { return at(h, Take, 3) }
	tests := []struct {
		name, want string
		doctor     func(h []Event) []Event
	}{
		{"an output is visible twice", "I7", func(h []Event) []Event {
			return append(h, Event{Kind: Seen, Stream: "out", ID: "3.0"})
		}},
		{"an output is missing", "I7", func(h []Event) []Event { return h[:len(h)-1] }},
		{"an output is visible, and no commit holds it", "I7", func(h []Event) []Event {
			return append(h, Event{Kind: Seen, Stream: "out", ID: "9.0"})
		}},
		{"an output is visible, and its commit was refused", "I7", func(h []Event) []Event {
			h[commit(h, func(e Event) bool { return slices.Contains(e.Out, "out/1.0") })].Result = "stale"
			return h
		}},
		{"an output is visible in another stream", "I7", func(h []Event) []Event { h[len(h)-1].Stream = "in"; return h }},
		{"an output is in two commits", "I7", func(h []Event) []Event {
			h[commit(h, ends("L2"))].Out = []string{"out/1.1"}
			return h
		}},
		{"half of a commit is visible", "I7", func(h []Event) []Event {
			return slices.DeleteFunc(h, func(e Event) bool { return e.Kind == Seen && e.ID == "2.1" })
		}},
		{"too many run again after a kill", "I6", func(h []Event) []Event {
			for i := range 6 {
				at := at(h, Fault, 1) // before it, nobody has written down that record 3 is done
				h = slices.Insert(h, at, run(fmt.Sprint("x", i), "done", 3)...)
			}
			return h
		}},
		{"a letter runs by another trigger", "I9", func(h []Event) []Event { h[named(h, "6")].Trigger = "u"; return h }},
		{"a letter runs as another record", "I9", func(h []Event) []Event { h[named(h, "6")].Seqs = []string{seq(2)}; return h }},
		{"a letter runs with others", "I9", func(h []Event) []Event {
			h[named(h, "6")].Seqs = []string{seq(0), seq(2)}
			return h
		}},
		{"a buried record runs without a redrive", "I9", func(h []Event) []Event { h[named(h, "6")].Letter = ""; return h }},
		{"a letter runs that nobody buried", "I9", func(h []Event) []Event { h[named(h, "6")].Letter = "L9"; return h }},
		{"a letter runs before it is durable that it is redriven", "I9", func(h []Event) []Event {
			i := commit(h, func(e Event) bool { return len(e.Redriving) == 2 })
			e := h[i]
			h = remove(h, i)
			return slices.Insert(h, i+1, e) // behind the start of its run
		}},
		{"a letter runs after its end", "I9", func(h []Event) []Event {
			return slices.Insert(h, commit(h, ends("L0"))+1, letter("x", "L0", "done", 0)...)
		}},
		{"a letter runs again after it was done", "I6", func(h []Event) []Event {
			return slices.Insert(h, commit(h, ends("L0")), letter("x", "L0", "done", 0)...)
		}},
		{"letters of a key run in another order than given", "I5", func(h []Event) []Event {
			return slices.Insert(h, named(h, "6"), letter("x", "L2", "error", 2)...)
		}},
		{"a newer record runs before a letter is at its end", "I5", func(h []Event) []Event {
			return slices.Insert(h, named(h, "7")+2, run("x", "error", 3)...)
		}},
		{"a letter and a record of its key run at a time", "I5", func(h []Event) []Event {
			return slices.Insert(h, named(h, "7")+1, run("x", "error", 3)[0])
		}},
		{"a letter of another shard and a record of its key run at a time", "I5", func(h []Event) []Event {
			h = append(h, Event{Kind: Put, Req: "9", Key: "a", Hash: "h9"}, Event{Kind: Read, Stream: "in", Shard: "s2", Seq: seq(9), Number: 0, Key: "a", Hash: "h9"})
			e := run("x", "done", 9)
			e[0].Shard = "s2"
			return slices.Insert(h, named(h, "7")+1, e...)
		}},
		{"a letter is ended twice", "I9", func(h []Event) []Event {
			i := commit(h, ends("L2"))
			h[i].Redriven, h[i].Again = []string{"L2", "L0"}, []string{"L2'", ""}
			return h
		}},
		{"a letter is ended that no commit named", "I9", func(h []Event) []Event {
			h[commit(h, func(e Event) bool { return slices.Contains(e.Out, "out/1.0") })].Redriven = []string{"L0"}
			return h
		}},
		{"a letter that failed is ended as done", "I9", func(h []Event) []Event { h[named(h, "6")+1].Outcome = "error"; return h }},
		{"a letter that was done is buried again", "I9", func(h []Event) []Event {
			i := commit(h, ends("L0"))
			h[i].Again = []string{"L0'"}
			return append(h, Event{Kind: Letter, ID: "L0'", Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(0), Hash: "h0"})
		}},
		{"a commit forgets a redrive", "I9", func(h []Event) []Event {
			h[commit(h, ends("L0"))].Redriving = nil
			return h
		}},
		{"a redrive is lost in a kill", "I9", func(h []Event) []Event { h[at(h, Take, 1)].Redriving = nil; return h }},
		{"a redrive ended in a kill by no commit", "I9", func(h []Event) []Event {
			return remove(h, at(h, Fault, 2)-1) // the commit that was asked for
		}},
		{"a redrive ended in a kill is redriven on", "I9", func(h []Event) []Event {
			h[lastTake(h)].Redriving = []string{"L2'"}
			return h // never ended, then
		}},
		{"a redrive never ends", "I9", func(h []Event) []Event {
			i := lastTake(h)
			e := h[i-2]
			e.Redriven, e.Out, e.Redriving, e.Result, e.Epoch = nil, nil, []string{"L0"}, "ok", 4
			return slices.Insert(h, i+1, e)
		}},
		{"a letter is done and still there", "I9", func(h []Event) []Event {
			return append(h, Event{Kind: Letter, ID: "L0", Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(0), Hash: "h0"})
		}},
		{"a letter is buried again and not there", "I9", func(h []Event) []Event {
			i := slices.IndexFunc(h, func(e Event) bool { return slices.Contains(e.Redriving, "L2'") })
			h[i].Redriving = nil
			j := named(h, "11")
			return slices.Delete(h, j, j+3)
		}},
		{"a letter is made twice in one trigger", "I9", func(h []Event) []Event {
			h[commit(h, func(e Event) bool { return len(e.Dead) == 1 && e.Dead[0] == seq(2) })].DeadIDs = []string{"L0"}
			return h
		}},
		{"a letter is redriven that nobody buried", "I9", func(h []Event) []Event {
			h[commit(h, func(e Event) bool { return len(e.Redriving) == 2 })].Redriving = []string{"L0", "L2", "L9"}
			h[commit(h, ends("L0"))].Redriven = []string{"L0", "L9"}
			return h
		}},
		{"a letter is redriven after its end", "I9", func(h []Event) []Event {
			h[commit(h, ends("L2"))].Redriving = []string{"L2"}
			h[at(h, Take, 2)].Redriving = []string{"L2"}
			h[commit(h, func(e Event) bool { return slices.Contains(e.Out, "out/3.0") })].Redriving = []string{"L2", "L2'"}
			return h
		}},
		{"a letter is made twice", "I9", func(h []Event) []Event {
			h[commit(h, ends("L2"))].Again = []string{"L0"}
			return h
		}},
		{"letters without ids", "I9", func(h []Event) []Event {
			h[commit(h, func(e Event) bool { return len(e.Dead) == 1 })].DeadIDs = []string{"L0", "L1"}
			return h
		}},
		{"a letter has no more retries than others", "I10", func(h []Event) []Event {
			for i := range 3 {
				h = slices.Insert(h, named(h, "8"), letter(fmt.Sprint("x", i), "L2", "error", 2)...)
			}
			return h
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := checkWith(t, tt.doctor(loop()), loopOptions())
			if !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == tt.want }) {
				t.Errorf("violations = %v, want one of %s", v, tt.want)
			}
		})
	}
}

// TestOneCommitIsThereAsAWholeAfterAKill where nobody knows of it but by its effects.
func TestOneCommitIsThereAsAWholeAfterAKill(t *testing.T) {
	h := slices.DeleteFunc(loop(), func(e Event) bool { return e.ID == "2.0" || e.ID == "2.1" })
	if v := checkWith(t, h, loopOptions()); len(v) > 0 {
		t.Errorf("none of the outputs of a commit without an answer: %v", v)
	}
	h = loop()
	i := slices.IndexFunc(h, func(e Event) bool { return e.Result == "asked" && len(e.Redriven) > 0 })
	h[i].Redriven = []string{"L2'", "L2''"}
	h[i+2].Redriving = []string{"L2''"}
	if v := checkWith(t, h, loopOptions()); !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == "I9" }) {
		t.Errorf("one of two letters that a commit ends: %v, want I9", v)
	}
}

// TestAKillBeforeTheLineOfABurialHidesNoLetter that it made.
func TestAKillBeforeTheLineOfABurialHidesNoLetter(t *testing.T) {
	for name, what := range map[string]func(Event) bool{
		"of a record": func(e Event) bool { return slices.Contains(e.DeadIDs, "L0") },
		"of a letter": func(e Event) bool { return slices.Contains(e.Redriven, "L2") },
	} {
		h := loop()
		i := slices.IndexFunc(h, func(e Event) bool { return e.Result == "ok" && what(e) })
		took, asked := take(h[i].Epoch+1, h[i].To), h[i]
		for j := i + 1; j < len(h); j++ {
			if h[j].Epoch > 0 {
				h[j].Epoch++
			}
		}
		asked.Result = "asked"
		h = slices.Replace(h, i, i+1, asked, Event{Kind: Fault, Reason: "SIGKILL"}, took)
		if v := checkWith(t, h, loopOptions()); len(v) > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
}
