package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/triggers"
)

// DefaultRedriveRate is how many dead letters a redrive starts in a second
// unless it says otherwise.
const DefaultRedriveRate = 50

// patience is how long one line of a redrive may take to be sent.
const patience = 10 * time.Second

// RedriveSpec says which dead letters of a trigger are to be delivered to its
// function again: those of IDs, or those that the other fields pick, all if
// they are empty.
type RedriveSpec struct {
	IDs    []string   `json:"ids,omitempty"`
	Reason dlq.Reason `json:"reason,omitempty"`
	Error  string     `json:"error,omitempty"` // is part of the error's type or message
	Key    string     `json:"key,omitempty"`   // the partition key, exactly
	Since  time.Time  `json:"since,omitzero"`
	Before time.Time  `json:"before,omitzero"`
	// Rate is how many to start in a second, up to a million; 0 takes the
	// default, [DefaultRedriveRate].
	Rate   float64 `json:"rate,omitempty"`
	DryRun bool    `json:"dryRun,omitempty"` // name them and do nothing
}

// RedriveLine is one line of a redrive's NDJSON: first Total, then Redriven for
// each letter, then End or Error.
type RedriveLine struct {
	Total    *int        `json:"total,omitempty"`
	Redriven *Redriven   `json:"redriven,omitempty"`
	End      *RedriveEnd `json:"end,omitempty"`
	Error    *Error      `json:"error,omitempty"`
}

// Outcomes of a redrive.
const (
	RedriveDone    = "done"    // digested: a dead letter no more
	RedriveBuried  = "buried"  // failed again: a dead letter with a new id
	RedriveGone    = "gone"    // there was no such letter any more
	RedriveRefused = "refused" // cannot be delivered
	RedriveWould   = "would"   // of a dry run
)

// Redriven is what became of one dead letter.
type Redriven struct {
	ID           string `json:"id"`
	Key          string `json:"key"`
	Outcome      string `json:"outcome"`
	Letter       string `json:"letter,omitempty"` // the new id, with buried
	Attempts     int    `json:"attempts,omitempty"`
	ErrorType    string `json:"errorType,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// RedriveEnd counts the outcomes.
type RedriveEnd struct {
	Done    int `json:"done"`
	Buried  int `json:"buried"`
	Gone    int `json:"gone"`
	Refused int `json:"refused"`
	Would   int `json:"would,omitempty"`
}

func (e *RedriveEnd) count(outcome string) {
	switch outcome {
	case RedriveDone:
		e.Done++
	case RedriveBuried:
		e.Buried++
	case RedriveGone:
		e.Gone++
	case RedriveWould:
		e.Would++
	default:
		e.Refused++
	}
}

// redrive has dead letters delivered again, and tells of each as it ends.
func (h *handler) redrive(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := h.untilClosing(r.Context())
	defer cancel()
	name := r.PathValue("name")
	var spec RedriveSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	if spec.Rate < 0 || spec.Rate > 1e6 {
		return newError(CodeBadRequest, "rate %v: want more than 0 and at most 1000000 letters in a second", spec.Rate).With("field", "rate")
	}
	if spec.Rate == 0 {
		spec.Rate = DefaultRedriveRate
	}
	if spec.Reason != "" && !slices.Contains(Reasons, string(spec.Reason)) {
		return newError(CodeBadRequest, "reason %q is none", spec.Reason).With("field", "reason")
	}
	m, err := h.Triggers.Get(ctx, name)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	if m.State == triggers.Deleting {
		return newError(CodeTriggerNotFound, "trigger %s is being removed", name).Named(name)
	}
	if !m.Enabled && !spec.DryRun {
		return newError(CodeTriggerStopped, "trigger %s is paused: nothing can be redriven", name).Named(name)
	}
	letters, err := h.chosen(ctx, m, spec)
	if err != nil {
		return err
	}
	out, end, total := newLines(w), RedriveEnd{}, len(letters)
	if err := out.send(RedriveLine{Total: &total}); err != nil {
		return nil // the caller has gone
	}
	report := func(v Redriven) {
		end.count(v.Outcome)
		// Whoever asked may have gone, or stopped reading; what is under way goes on.
		_ = out.ctl.SetWriteDeadline(time.Now().Add(patience))
		_ = out.send(RedriveLine{Redriven: &v})
	}
	if spec.DryRun {
		for _, l := range slices.SortedStableFunc(slices.Values(letters), dlq.InOrder) {
			report(Redriven{ID: l.ID, Key: l.PartitionKey, Outcome: RedriveWould, ErrorType: l.ErrorType, ErrorMessage: l.ErrorMessage, Attempts: l.Attempts})
		}
	} else if err := h.Triggers.Redrive(ctx, name, letters, spec.Rate, report); err != nil {
		var e *Error
		switch {
		case h.closing():
			e = newError(CodeStopping, "the server is stopping; what of the redrive is under way goes on after its next start, the rest when it is repeated")
		case errors.Is(err, triggers.ErrInvalid):
			e = newError(CodeTriggerStopped, "%s", plain(err, triggers.ErrInvalid)).Named(name)
		default:
			e = h.toError(h.ofTrigger(ctx, err, name))
		}
		out.send(RedriveLine{Error: e})
		return nil
	}
	out.send(RedriveLine{End: &end})
	return nil
}

// chosen are the dead letters of a trigger that a redrive names.
func (h *handler) chosen(ctx context.Context, m triggers.Mapping, spec RedriveSpec) ([]dlq.Letter, error) {
	if len(spec.IDs) == 0 {
		all, err := h.Letters.List(ctx, LetterFilter{Trigger: m.Name, Reason: spec.Reason, Error: spec.Error, Since: spec.Since, Before: spec.Before})
		if err != nil && all == nil {
			return nil, err
		}
		if err != nil { // some cannot be read; they stay where they are
			h.Logger.Warn("some dead letters cannot be read and are not redriven", "trigger", m.Name, "error", err)
		}
		return slices.DeleteFunc(all, func(l dlq.Letter) bool {
			return l.Kind == dlq.KindOutput || spec.Key != "" && l.PartitionKey != spec.Key
		}), nil
	}
	if spec.Reason != "" || spec.Error != "" || spec.Key != "" || !spec.Since.IsZero() || !spec.Before.IsZero() {
		return nil, newError(CodeBadRequest, "ids and a filter: want one of them")
	}
	var letters []dlq.Letter
	for _, id := range spec.IDs {
		l, err := h.Letters.Get(ctx, id)
		if err != nil {
			return nil, h.ofLetter(ctx, err, id)
		}
		if l.Trigger != m.Name && l.Mapping != m.ID {
			return nil, newError(CodeBadRequest, "dead letter %s is of trigger %s, not of %s", id, l.Trigger, m.Name).With("trigger", l.Trigger)
		}
		l.Data = nil // it is looked up again when its turn comes
		letters = append(letters, l)
	}
	return letters, nil
}

// Redrive has dead letters of a trigger delivered again and tells of each as it
// ends; total is called first.
func (c *Client) Redrive(ctx context.Context, trigger string, spec RedriveSpec, total func(int), each func(Redriven)) (end RedriveEnd, err error) {
	in, err := json.Marshal(spec)
	if err != nil {
		return end, newError(CodeInternal, "encode request: %v", err)
	}
	body, err := c.open(ctx, "POST", path("triggers", trigger, "redrive"), http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(in))
	if err != nil {
		return end, err
	}
	err = readLines(ctx, c, body, func(l RedriveLine) (bool, error) {
		switch {
		case l.Error != nil:
			return false, l.Error
		case l.Total != nil:
			total(*l.Total)
		case l.Redriven != nil:
			end.count(l.Redriven.Outcome)
			each(*l.Redriven)
		}
		return l.End == nil, nil
	})
	return end, err
}

// SeekSpec says where a trigger is to go on.
type SeekSpec struct {
	To     string `json:"to"` // as [ParseFrom] reads it, or a sequence number
	DryRun bool   `json:"dryRun,omitempty"`
}

// SeekAnswer says what a seek did, or would do.
type SeekAnswer struct {
	Trigger    string `json:"trigger"`
	Generation int    `json:"generation"` // of the trigger, now
	To         string `json:"to"`
	DryRun     bool   `json:"dryRun"`
	// Again is how many records will be delivered again, and with them what the
	// function emits; Skipped how many never will be.
	Again   uint64   `json:"again"`
	Skipped uint64   `json:"skipped"`
	Windows uint64   `json:"windows,omitempty"` // tumbling windows that are given up with their state
	Emits   []string `json:"emits,omitempty"`   // the streams that the function may emit to
	// AtMost: records counted as skipped were resolved, nobody knows how many.
	AtMost bool        `json:"atMost,omitempty"`
	Shards []SeekShard `json:"shards"`
}

// SeekShard is what happens to one shard: running numbers of the record to read next.
type SeekShard struct {
	Shard   string `json:"shard"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Again   uint64 `json:"again"`
	Skipped uint64 `json:"skipped"`
	AtMost  bool   `json:"atMost,omitempty"`
	// Window is what becomes of the tumbling window under way: kept, ends early, or WindowDropped.
	Window string `json:"window,omitempty"`
}

// WindowDropped is a tumbling window that a seek gives up, with its state.
const WindowDropped = "is given up"

func (h *handler) seekTrigger(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	var spec SeekSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	to, err := ParseFrom(spec.To, time.Now())
	if err != nil {
		return newError(CodeTriggerInvalid, "%v", err).With("field", "to")
	}
	m, shards, err := h.Triggers.Seek(ctx, name, to, spec.DryRun)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	a := SeekAnswer{Trigger: m.Name, Generation: m.Generation, To: formatFrom(to), DryRun: spec.DryRun, Shards: shards}
	for _, s := range shards {
		a.Again += s.Again
		a.Skipped += s.Skipped
		a.AtMost = a.AtMost || s.AtMost
		if s.Window == WindowDropped {
			a.Windows++
		}
	}
	if fn, err := h.Functions.Resolve(ctx, m.Config.Function, m.Config.Qualifier); err == nil {
		a.Emits = fn.Config.Emits
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// SeekTrigger has a trigger go on from another place, or says what that would do.
func (c *Client) SeekTrigger(ctx context.Context, name string, spec SeekSpec) (v SeekAnswer, err error) {
	err = c.call(ctx, "POST", path("triggers", name, "seek"), spec, &v)
	return v, err
}
