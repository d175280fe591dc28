package iam

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

// listing is how every answer that lists something ends.
type listing struct {
	IsTruncated bool   `json:"IsTruncated"`
	Marker      string `json:"Marker,omitempty"`
}

// usual is the length of a page where none is asked for.
const usual = 100

// page is the part of all that c asks for, in the order of their keys, which no two share.
func page[T any](c *wire.Call, all []T, key func(T) string) ([]T, listing, error) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if text := c.In.String("Marker"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		name, after, ok := strings.Cut(string(b), " ")
		if err != nil || !ok || name != c.Operation.Name {
			return nil, listing{}, invalid("Invalid Marker.")
		}
		all = slices.DeleteFunc(all, func(t T) bool { return key(t) <= after })
	}
	most := cmp.Or(int(c.In.Int("MaxItems")), usual)
	if len(all) <= most {
		return all, listing{}, nil
	}
	all = all[:most]
	next := base64.RawURLEncoding.EncodeToString([]byte(c.Operation.Name + " " + key(all[most-1])))
	return all, listing{true, next}, nil
}
