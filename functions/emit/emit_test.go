package emit

import (
	"encoding/json"
	"testing"
)

// The names are a contract with every version of the server.
func TestReplyHasTheNamesOfTheABI(t *testing.T) {
	var r Reply
	r.Fail("7")
	r.Add(Record{Stream: "alerts", PartitionKey: "ci", Data: []byte{0xff}, ItemIdentifier: "8"}, Record{Stream: "s", PartitionKey: "k"})
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"batchItemFailures":[{"itemIdentifier":"7"}],"emit":[{"stream":"alerts","partitionKey":"ci","data":"/w==","itemIdentifier":"8"},{"stream":"s","partitionKey":"k","data":null}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
