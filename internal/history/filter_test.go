package history

import (
	"slices"
	"testing"
)

// Records that a trigger's filters drop are passed without a word, and never invoked.
func TestFilteredRecordsArePassedAndNeverInvoked(t *testing.T) {
	without := func(h []Event, number int) []Event {
		for i := range h {
			h[i].Seqs = slices.DeleteFunc(slices.Clone(h[i].Seqs), func(s string) bool { return s == seq(number) })
		}
		return h
	}
	tests := []struct {
		name    string
		history []Event
		drops   string // the hash of what no filter lets through
		want    string // the invariant that is broken; empty: none
	}{
		{"one that is passed", without(sound(), 1), "h1", ""},
		{"a key goes on behind one that is passed", without(sound(), 0), "h0", ""},
		{"one that is passed though a filter lets it through", without(sound(), 1), "", "I2"},
		{"one that is invoked", sound(), "h1", "I15"},
		{"the final invocation of a window has no records, and may fail for ever", slices.Concat(sound(), final("error", 5)), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Filtered = func(trigger, hash string) bool { return trigger == "t" && hash == tt.drops }
			got := checkWith(t, tt.history, o)
			if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.ContainsFunc(got, func(v Violation) bool { return v.Invariant == tt.want }) {
				t.Errorf("violations %v, want %q", got, tt.want)
			}
		})
	}
}

func final(outcome string, times int) (h []Event) {
	for i := range times {
		id := string(rune('A' + i))
		h = append(h, Event{Kind: Inv, ID: id, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Final: true}, Event{Kind: InvEnd, ID: id, Outcome: outcome})
	}
	return h
}
