package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wasmill/wasmill/triggers/filter"
)

// filters matches patterns against an event of exactly 1,024 bytes on one core;
// beside encoding/json's own scanner, which says of the same bytes no more than that
// they are JSON.
func filters(context.Context, *host) ([]result, error) {
	event := orderEvent()
	// The median of bursts that are too short for others on the machine to get between.
	const bursts, each = 101, 100
	once := func(do func() bool, want bool) (float64, error) {
		var took []float64
		for range bursts {
			began := time.Now()
			for range each {
				if do() != want {
					return 0, fmt.Errorf("got %t", !want)
				}
			}
			took = append(took, float64(time.Since(began).Nanoseconds())/each)
		}
		return median(took), nil
	}
	var out []result
	for _, b := range []struct {
		name, goal, pattern string
		want                bool
	}{
		{"filter.1KB.simple", "<= 1000 ns", `{"data":{"type":["order.created"]}}`, true},
		{"filter.1KB.simple.other", "<= 1000 ns", `{"data":{"type":["order.deleted"]}}`, false},
		{"filter.1KB.nested", "", `{"data":{"type":["order.created"],"customer":{"vip":[true]},"total":[{"numeric":[">",100]}]}}`, true},
		{"filter.1KB.array", "", `{"data":{"items":{"sku":["sku-3"],"quantity":[{"numeric":[">",3]}]}}}`, true},
	} {
		set, err := filter.Compile([]string{b.pattern}, filter.Options{})
		if err != nil {
			return out, err
		}
		r := &filter.Record{Data: event}
		one, err := compare(b.name, "ns", b.goal, time.Second,
			func() (float64, error) { return once(func() bool { return set.Match(r) }, b.want) },
			func() (float64, error) { return once(func() bool { return json.Valid(event) }, true) })
		if err != nil {
			return out, err
		}
		out = append(out, one)
	}
	return out, nil
}

// orderEvent is an event as a shop may send one.
func orderEvent() []byte {
	var b strings.Builder
	b.WriteString(`{"id":"0b2f3c1e-5c1a-4a51-9d55-123456789012","type":"order.created","version":3,"time":"2026-11-22T10:35:01Z","customer":{"id":123456,"name":"Ada Lovelace","vip":true,"tags":["new","eu","b2c"]},"items":[`)
	for i := range 4 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"sku-%d","quantity":%d,"price":%d.99,"title":"a thing that people buy"}`, i, i+1, 10*i)
	}
	b.WriteString(`],"shipping":{"street":"12 St James's Square","city":"London","zip":"SW1Y 4JH","country":"GB"},"total":212.95,"currency":"GBP","note":"`)
	b.WriteString(strings.Repeat("please ring twice ", 60)[:1022-b.Len()])
	b.WriteString(`"}`)
	return []byte(b.String())
}
