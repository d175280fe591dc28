// Guest is the module that the tests of package wasm run: the exports of
// docs/abi.md in plain Go, without any of wasmill's own guest code. What it does
// is the first word of the payload, or of the data of a batch's first record. It
// does without package fmt to be small: tests compile it again and again.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

func main() {}

var (
	request, response []byte
	calls             int
	random            = rand.New(rand.NewPCG(1, 2)) // wm_reseed changes it
	kept              string
	hoard             [][]byte
)

//go:wasmexport wm_abi_version
func abiVersion() int32 { return 1 }

//go:wasmexport wm_start
func start() int32 {
	os.Stdout.WriteString("starting " + os.Getenv("AWS_LAMBDA_FUNCTION_NAME") + "\n")
	switch os.Getenv("START") {
	case "fail":
		os.Stderr.WriteString("no handler registered\n")
		return 2
	case "panic":
		panic("start-up is broken")
	case "loop":
		for {
		}
	}
	return 0
}

// Room for the first batches, and nothing under way that a clone would go on with.
//
//go:wasmexport wm_freeze
func freeze() {
	room := make([]byte, 8<<20)
	runtime.KeepAlive(room)
	room = nil
	runtime.GC()
	runtime.GC()
}

//go:wasmexport wm_reseed
func reseed(seed int64) { random = rand.New(rand.NewPCG(uint64(seed), random.Uint64())) }

//go:wasmexport wm_alloc
func alloc(n int32) unsafe.Pointer {
	request = make([]byte, n)
	return unsafe.Pointer(unsafe.SliceData(request))
}

//go:wasmexport wm_json
func onJSON(n int32) int64 {
	at, count := le.Uint32(request[28:]), le.Uint32(request[24:])
	return do(string(request[at:at+count]), 0)
}

//go:wasmexport wm_batch
func onBatch(n int32) int64 {
	table, count := le.Uint32(request[28:]), le.Uint32(request[24:])
	if count == 0 {
		return answer(2)
	}
	var bytes uint32
	for i := range count {
		bytes += le.Uint32(request[table+32*i+16:])
	}
	e := request[table:]
	at := le.Uint32(e[12:])
	word, _, _ := strings.Cut(string(request[at:at+le.Uint32(e[16:])]), ";")
	if word == "count" {
		eventID, seq, key := le.Uint32(e), le.Uint32(e[4:]), le.Uint32(e[8:])
		return ok(`{"records":` + strconv.Itoa(int(count)) + `,"bytes":` + strconv.Itoa(int(bytes)) + `,"eventID":"` + string(request[eventID:key]) +
			`","seq":"` + string(request[seq:key]) + `","key":"` + string(request[key:at]) + `","arrival":` + strconv.FormatInt(int64(le.Uint64(e[24:])), 10) + "}")
	}
	if word == "noop" {
		return answer(0)
	}
	return do(word, count)
}

var le = binary.LittleEndian

type section struct {
	tag  uint16
	body []byte
}

func answer(status uint16, sections ...section) int64 {
	b := append(response[:0], "WMR1\x01\x00"...)
	b = le.AppendUint16(b, status)
	b = append(b, make([]byte, 8)...)
	for _, s := range sections {
		b = le.AppendUint16(b, s.tag)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint32(b, uint32(len(s.body)))
		b = append(b, s.body...)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
	}
	le.PutUint32(b[8:], uint32(len(b)))
	response = b
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | int64(len(b))
}

func ok(json string) int64 { return answer(0, section{1, []byte(json)}) }

func do(word string, records uint32) int64 {
	calls++
	word, arg, _ := strings.Cut(strings.Trim(word, `"`), " ")
	n, _ := strconv.Atoi(arg)
	switch word {
	case "calls":
		return ok(strconv.Itoa(calls))
	case "keep":
		kept = strings.Clone(arg)
		return ok("null")
	case "kept":
		return ok(strconv.Quote(kept))
	case "env":
		return ok(strconv.Quote(os.Getenv(arg)))
	case "environ":
		return ok(strconv.Quote(strings.Join(os.Environ(), "\n")))
	case "args":
		_, err := os.ReadDir("/")
		return ok(`{"args":` + strconv.Itoa(len(os.Args)) + `,"files":` + strconv.FormatBool(err == nil) + `}`)
	case "deadline":
		return ok(strconv.FormatInt(int64(le.Uint64(request[16:])), 10))
	case "request":
		return ok(strconv.Quote(hex.EncodeToString(request)))
	case "now":
		return ok(strconv.FormatInt(time.Now().UnixMilli(), 10))
	case "random":
		return ok(strconv.Quote(strconv.FormatUint(random.Uint64(), 16)))
	case "say":
		os.Stdout.WriteString("out " + arg + "\n")
		os.Stderr.WriteString("err " + arg) // no line end
		return ok("null")
	case "error":
		return answer(1, section{16, []byte("errorString")}, section{17, []byte(arg)}, section{18, []byte(`["main.do"]`)})
	case "failures":
		var b []byte
		for _, f := range strings.Fields(strings.ReplaceAll(arg, ",", " ")) {
			i, _ := strconv.Atoi(f)
			b = le.AppendUint32(b, uint32(i))
		}
		return answer(0, section{2, b})
	case "emit": // each field: index or -1, stream, key and data, parted by commas
		var b []byte
		for _, f := range strings.Fields(arg) {
			p := strings.Split(f, ",")
			i, _ := strconv.Atoi(p[0])
			b = le.AppendUint32(b, uint32(i))
			for _, s := range p[1:4] {
				b = le.AppendUint32(b, uint32(len(s)))
			}
			b = append(b, p[1]+p[2]+p[3]...)
			for len(b)%8 != 0 {
				b = append(b, 0)
			}
		}
		return answer(0, section{1, []byte(`{"n":1,"emit":"not this"}`)}, section{3, b})
	case "return":
		return ok(arg)
	case "large":
		return ok(`"` + strings.Repeat("x", n-2) + `"`)
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
		return ok("null")
	case "loop":
		for {
			calls++
		}
	case "recurse":
		return ok(strconv.Itoa(recurse(1)))
	case "panic":
		panic(arg)
	case "exit":
		os.Exit(n)
	case "hog":
		for i := 0; ; i++ {
			b := make([]byte, 1<<20)
			b[0] = byte(i)
			hoard = append(hoard, b)
		}
	case "hold":
		b := make([]byte, n<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return ok(strconv.Itoa(len(b)))
	case "flood":
		line := []byte(strings.Repeat("y", 99) + "\n")
		for range n {
			os.Stdout.Write(line)
		}
		return ok("null")
	case "deadlock":
		select {}
	}
	return ok(`{"word":` + strconv.Quote(word) + `,"records":` + strconv.Itoa(int(records)) + "}")
}

//go:noinline
func recurse(n int) int {
	var pad [64]int
	pad[n%64] = n
	return recurse(n+1) + pad[(n+1)%64]
}
