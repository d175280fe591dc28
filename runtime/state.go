package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// TypeBadState is the error type of an invocation in a time window that did not
// return the window's state as it ought to.
const TypeBadState = "TimeWindow.Invalid" // ours

// takeState puts the window's new state into r.State, from a reply in valid JSON
// unless the environment had it there already. AWS fails an invocation that
// returns none. The last invocation of a window need not.
func takeState(inv *Invocation, r *Result) error {
	if inv.Batch.Window.Final {
		r.State = nil
		return nil
	}
	state := r.State
	if state == nil {
		other := ""
		for key, value := range members(r.Response) {
			switch {
			case key == "state":
				state = value // the last one counts, as everywhere in JSON
			case bytes.EqualFold([]byte(key), []byte("state")):
				other = key
			}
		}
		switch {
		case state == nil && other != "":
			return fmt.Errorf("the reply %w", wrongCase(other, "state"))
		case state == nil:
			return errors.New(`the reply has no "state": in a time window each invocation returns the window's new state, {"state":{…}}`)
		}
	} else if !json.Valid(state) {
		return fmt.Errorf("the state is not JSON: %.60q", state)
	}
	state = bytes.TrimSpace(state)
	switch {
	case string(state) == "null": // what encoding/json makes of a nil map
		r.State = []byte("{}")
	case state[0] != '{':
		return fmt.Errorf("the state is %s: want an object", kindOf(state))
	default:
		r.State = bytes.Clone(state)
	}
	return nil
}
