package wire

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// What the wire itself costs: a body of PutRecords with 500 records of 1 KB, over a
// connection, to an operation that looks at nothing.
func BenchmarkLargeBodies(b *testing.B) {
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{{
		Name:   "PutRecords",
		Decode: func(f Format, b []byte) (any, bool) { return nil, true },
		Do:     func(ctx context.Context, c *Call) (any, error) { return struct{}{}, nil },
	}}}
	server := testServer(b, testHandler(b, Options{Services: []*Service{s}}))
	body := strings.Repeat("x", 700<<10)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("POST", server.URL, strings.NewReader(body))
			for name, value := range jsonHead("PutRecords") {
				req.Header.Set(name, value)
			}
			r, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			r.Body.Close()
		}
	})
}

// What the table costs: the same records, well-formed, read by PutRecords' shape.
func BenchmarkReadingByTable(b *testing.B) {
	op := testService().Ops[3]
	body := []byte(`{"StreamName":"s","Records":[` + strings.TrimSuffix(strings.Repeat(`{"Data":"`+strings.Repeat("QUJD", 342)+`","PartitionKey":"0123456789"},`, 500), ",") + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		in, err := read(JSON11, op.Input, body)
		if err == nil {
			err = check(op.Input, in, false)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// What a small request costs besides the connection.
func BenchmarkSmallRequests(b *testing.B) {
	h := testHandler(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if r := call(h, "DeleteStream", `{"StreamName":"s"}`); r.StatusCode != 200 {
			b.Fatal(r.StatusCode)
		}
	}
}
