package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/wasmill/wasmill/runtime"
)

// The vectors of docs/abi.md, as far as a guest can be asked for them.
type vectors struct {
	Requests []struct {
		Name, Hex, Event string
		Kind             int
		Window           *struct{}
	}
	Responses []struct {
		Name  string
		Emits []struct {
			Item                          int
			Stream, PartitionKey, DataHex string
		}
	}
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	file, err := os.ReadFile("../../runtime/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bare runs a guest without any of our engine, byte by byte as docs/abi.md has
// it. It interprets, since that is quicker than to compile for a few calls.
func bare(t *testing.T, name string) (call func(export string, request []byte) (response []byte)) {
	t.Helper()
	engine(t)
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	m, err := r.InstantiateWithConfig(ctx, guests.code, wazero.NewModuleConfig().WithStartFunctions("_initialize").WithEnv("CASE", name).WithSysWalltime().WithSysNanotime())
	if err != nil {
		t.Fatal(err)
	}
	do := func(export string, args ...uint64) uint64 {
		t.Helper()
		out, err := m.ExportedFunction(export).Call(ctx, args...)
		if err != nil {
			t.Fatalf("%s: %v", export, err)
		}
		return out[0]
	}
	if v, ready := do("wm_abi_version"), do("wm_start"); v != runtime.ABIVersion || ready != 0 {
		t.Fatalf("version %d, wm_start returned %d", v, ready)
	}
	return func(export string, request []byte) []byte {
		t.Helper()
		n := uint64(len(request))
		at := do("wm_alloc", n)
		if at == 0 || at%8 != 0 || !m.Memory().Write(uint32(at), request) {
			t.Fatalf("wm_alloc(%d) returned %d", n, at)
		}
		packed := do(export, n)
		response, ok := m.Memory().Read(api.DecodeU32(packed>>32), api.DecodeU32(packed))
		if !ok {
			t.Fatalf("%s returned %#x, which does not lie in memory", export, packed)
		}
		return append([]byte(nil), response...)
	}
}

// TestGoGuestReadsTheVectors has handlers that return their event: by wm_batch they
// get what they get of the same batch as JSON.
func TestGoGuestReadsTheVectors(t *testing.T) {
	type bareCall = func(string, []byte) []byte
	calls := make(map[string]bareCall)
	read := make(map[int]int)
	for _, v := range readVectors(t).Requests {
		guest := map[int]string{0: "kinesis-json", 1: "kinesis-json", 2: "sqs-json", 3: "dynamodb-json"}[v.Kind]
		if v.Window != nil {
			guest = map[int]string{1: "window-json", 3: "dynamodb-window-json"}[v.Kind]
		}
		if calls[guest] == nil {
			calls[guest] = bare(t, guest)
		}
		call, request := calls[guest], unhex(t, v.Hex)
		ask := func(export string, request []byte) runtime.Reply {
			t.Helper()
			r, err := runtime.DecodeReply(call(export, request))
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			return r
		}
		if v.Kind == 0 {
			if r := ask("wm_batch", request); !r.NotUnderstood {
				t.Errorf("%s, given to wm_batch: %+v", v.Name, r)
			}
			continue
		}
		for name, change := range map[string]int{"a later version": 4, "another kind": 6} {
			other := append([]byte(nil), request...)
			other[change] = 9
			if r := ask("wm_batch", other); !r.NotUnderstood {
				t.Errorf("%s in %s: %+v", v.Name, name, r)
			}
		}
		r := ask("wm_batch", request)
		if r.Failed || r.NotUnderstood {
			t.Fatalf("%s: %+v", v.Name, r)
		}
		byJSON := ask("wm_json", append(runtime.AppendJSONRequest(nil, len(v.Event), runtime.BatchHeader{}), v.Event...))
		if got, want := rounded(t, r.JSON), rounded(t, byJSON.JSON); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v\nwant %v", v.Name, got, want)
		}
		// No cut of the message may hurt the guest.
		for n := 40; n < len(request); n += 7 {
			cut := append([]byte(nil), request[:n]...)
			binary.LittleEndian.PutUint32(cut[8:], uint32(n))
			if r := ask("wm_batch", cut); !r.Failed && !r.NotUnderstood && bytes.Equal(r.JSON, byJSON.JSON) && len(v.Hex) > 600 {
				t.Errorf("%s: cut to %d bytes it is as good as whole", v.Name, n)
			}
		}
		read[v.Kind]++
	}
	if read[1] < 6 || read[2] < 2 || read[3] < 3 {
		t.Errorf("only %v batches", read)
	}
}

// rounded is an event with the times of a stream's records in whole milliseconds.
func rounded(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatalf("%v: %.200s", err, b)
	}
	records, _ := e["Records"].([]any)
	for _, r := range records {
		if k, ok := r.(map[string]any)["kinesis"].(map[string]any); ok {
			k["approximateArrivalTimestamp"] = math.Round(k["approximateArrivalTimestamp"].(float64) * 1000)
		}
	}
	return e
}

func TestGoGuestWritesEmitsAsTheVectorsHaveThem(t *testing.T) {
	call := bare(t, "emit-alone")
	written := 0
	for _, v := range readVectors(t).Responses {
		var data []string
		for _, e := range v.Emits {
			item := map[bool]string{true: "-", false: ""}[e.Item < 0]
			data = append(data, item+e.Stream+"/"+e.PartitionKey+"/"+string(unhex(t, e.DataHex)))
		}
		if data == nil {
			continue
		}
		response := call("wm_batch", runtime.AppendBinary(nil, batch(data...), runtime.BatchHeader{}))
		r, err := runtime.DecodeReply(response)
		if err != nil || !r.HasEmits || len(r.Emits) != len(v.Emits) {
			t.Fatalf("%s: %+v, %v", v.Name, r, err)
		}
		for i, e := range r.Emits {
			want := v.Emits[i]
			if int32(e.Item) != int32(want.Item) || string(e.Stream) != want.Stream || string(e.Key) != want.PartitionKey || hex.EncodeToString(e.Data) != want.DataHex {
				t.Errorf("%s: emit %d is %+v", v.Name, i, e)
			}
		}
		// A host of before must not pass the section over.
		at := 16 + 8 + (len(r.JSON)+7)&^7
		if tag, flags := binary.LittleEndian.Uint16(response[at:]), binary.LittleEndian.Uint16(response[at+2:]); tag != 3 || flags != 1 {
			t.Errorf("%s: section %d with flags %d, want 3 with 1", v.Name, tag, flags)
		}
		written++
	}
	if written < 3 {
		t.Errorf("only %d responses", written)
	}
}
