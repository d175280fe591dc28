// Command work is a guest that decodes JSON and hashes in a tight loop, for the
// benchmark of what counting costs.
package main

import (
	"encoding/json"
	"fmt"
)

type record struct {
	ID    string            `json:"id"`
	N     int               `json:"n"`
	F     float64           `json:"f"`
	Tags  []string          `json:"tags"`
	Attrs map[string]string `json:"attrs"`
}

var document = func() []byte {
	var all []record
	for i := range 200 {
		all = append(all, record{fmt.Sprint("id-", i), i, float64(i) / 3, []string{"a", "bb", "ccc"}, map[string]string{"k": "v", "x": "y"}})
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return b
}()

//go:wasmexport decode
func decode() int32 {
	var out []record
	if err := json.Unmarshal(document, &out); err != nil || len(out) != 200 {
		panic(err)
	}
	return int32(len(out))
}

//go:wasmexport hash
func hash() int64 {
	h := uint64(14695981039346656037)
	for i := range 300_000 {
		h = (h ^ uint64(byte(i))) * 1099511628211
	}
	return int64(h)
}

func main() {}
