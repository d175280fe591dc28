package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/wasmill/wasmill/api/wire"
)

// tokenLife is how long a page can be asked for after the one before it.
const tokenLife = 300 * time.Second

// token is where a listing goes on. It holds nothing that its bearer could not ask
// for in other words, so it is not sealed.
type token struct {
	Op     string          `json:"op"`
	Issued int64           `json:"issued"`           // Unix milliseconds
	Stream string          `json:"stream,omitempty"` // incarnation whose parts are listed
	After  string          `json:"after,omitempty"`  // what the page before ended with
	Filter json.RawMessage `json:"filter,omitempty"` // as the operation likes
}

// tokenHead are the bytes that AWS's opaque texts begin with.
var tokenHead = []byte{0, 0, 0, 0, 0, 0, 0, 1}

// write makes the text for the next page of c's listing.
func (t token) write(c *wire.Call) string {
	t.Op, t.Issued = c.Operation.Name, time.Now().UnixMilli()
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings, numbers and JSON that was made here
	}
	return base64.StdEncoding.EncodeToString(append(bytes.Clone(tokenHead), b...))
}

// readToken reads a text that was given out for the same operation.
func readToken(c *wire.Call, text string) (token, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	b, ok := bytes.CutPrefix(b, tokenHead)
	var t token
	if err != nil || !ok || json.Unmarshal(b, &t) != nil || t.Op != c.Operation.Name {
		return token{}, badToken(c)
	}
	if issued, now := time.UnixMilli(t.Issued), time.Now(); now.Sub(issued) > tokenLife {
		return token{}, wire.Errorf(codeTokenExpired, "NextToken expired. The token was created at time %s while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			stamp(issued), stamp(now), tokenLife.Milliseconds())
	}
	return t, nil
}

func badToken(c *wire.Call) *wire.Error {
	return invalid("Invalid NextToken: it was not returned by %s.", c.Operation.Name)
}

// stamp prints a time as AWS does in such errors.
func stamp(t time.Time) string { return t.UTC().Format("Mon Jan 02 15:04:05 UTC 2006") }
