package logs

import (
	"encoding/base64"
	"math/big"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

// Tokens hold nothing that their bearer could not ask for in other words, so they are not
// sealed.

// nameToken is where a listing by name goes on: behind name.
func nameToken(c *wire.Call, name string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.Operation.Name + "\x00" + name))
}

// readName reads what nameToken made for the same operation; "" without a token.
func readName(c *wire.Call) (string, error) {
	if !c.In.Has("nextToken") {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(c.In.String("nextToken"))
	op, name, ok := strings.Cut(string(b), "\x00")
	if err != nil || !ok || op != c.Operation.Name || name == "" {
		return "", badToken()
	}
	return name, nil
}

func badToken() *wire.Error { return invalid("The specified nextToken is invalid.") }

// eventID is an event's id as AWS prints one: 56 digits, of which the upper bits are its time.
func eventID(p logs.Position) string {
	n := new(big.Int).Lsh(big.NewInt(max(p.Millis, 0)), 144)
	n.Add(n, new(big.Int).SetUint64(p.ID))
	s := n.String()
	return strings.Repeat("0", max(0, 56-len(s))) + s
}

func readEventID(s string) (p logs.Position, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || len(s) != 56 || strings.ContainsAny(s, "+-_") {
		return p, false
	}
	millis := new(big.Int).Rsh(n, 144)
	rest := new(big.Int).Sub(n, new(big.Int).Lsh(millis, 144))
	if !millis.IsInt64() || !rest.IsUint64() {
		return p, false
	}
	return logs.Position{Millis: millis.Int64(), ID: rest.Uint64()}, true
}

// forward and backward are the tokens of GetLogEvents: behind, and before, an event.
func forward(p logs.Position) string  { return "f/" + eventID(p) + "/s" }
func backward(p logs.Position) string { return "b/" + eventID(p) + "/s" }

func readPlace(token string) (p logs.Position, back bool, err error) {
	kind, rest, _ := strings.Cut(token, "/")
	id, end, _ := strings.Cut(rest, "/")
	p, ok := readEventID(id)
	if !ok || end != "s" || kind != "f" && kind != "b" {
		return p, false, badToken()
	}
	return p, kind == "b", nil
}

// filterToken is where FilterLogEvents goes on: behind an event.
func filterToken(p logs.Position) string {
	return base64.RawURLEncoding.EncodeToString([]byte("filter/" + strconv.FormatInt(p.Millis, 10) + "/" + strconv.FormatUint(p.ID, 10)))
}

func readFilter(token string) (p logs.Position, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(b), "/")
	if err != nil || len(parts) != 3 || parts[0] != "filter" {
		return p, badToken()
	}
	var err1, err2 error
	p.Millis, err1 = strconv.ParseInt(parts[1], 10, 64)
	p.ID, err2 = strconv.ParseUint(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return p, badToken()
	}
	return p, nil
}
