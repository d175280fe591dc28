package sandbox

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// A frame is a head of 8 bytes, length of what follows (u32) and kind (u8, three
// zeros), all little endian. Both sides refuse a frame that is longer than its kind may
// be before they keep any of it: a child is not to be trusted at all, and whatever it
// sends, the worst that comes of it is its end.

const frameHead = 8

// Kinds of frames on the control connection.
const (
	kindLoad    = 'L' // to the child, first: loadOrder
	kindLoaded  = 'l' // its answer: loadReport
	kindOpen    = 'O' // to the child: openOrder, with a connection
	kindCancel  = 'C' // to the child: environment u32, call u32
	kindCompile = 'M' // to the compile child: compileOrder
	kindStage   = 'p' // from it: runtime.Progress
	kindDone    = 'd' // from it: compileReport
	kindAsk     = 'q' // from the child: askOrder
	kindTold    = 'T' // to the child: toldReport, maybe with a connection
)

// Kinds of frames on the connection of an environment.
const (
	kindStart   = 'S' // to the child: i64 nanoseconds left, version as JSON
	kindStarted = 's' // from it: startReport
	kindCall    = 'X' // to the child: callHead, id; Size bytes of message follow the frame, or lie in the tray
	kindReply   = 'a' // from it: replyHead, then the message, or its length, u32, if it lies in the tray, or a failure as JSON
	kindLine    = 'o' // from it: a line of the guest's log
	kindRest    = 'R' // to the child
	kindRested  = 'r' // from it: u8, whether it is reusable
)

const (
	maxControl = 128 << 10 // any frame of a control connection
	maxLine    = 64 << 10  // as package wasm cuts them
	maxFailure = 128 << 10
	maxVersion = 1 << 20
	maxBody    = runtime.MaxResponse + 1<<20 + 1<<10
	maxRequest = 1 << 30
	// maxLogged is what one call may send of log; package wasm stops at 1 MiB and says so.
	maxLogged = 1<<20 + 256<<10
)

// errFrame means the other side does not keep to the protocol.
var errFrame = errors.New("the other side broke the protocol")

func broken(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errFrame, fmt.Sprintf(format, a...))
}

func putHead(b []byte, kind byte, n int) {
	binary.LittleEndian.PutUint32(b, uint32(n))
	b[4], b[5], b[6], b[7] = kind, 0, 0, 0
}

func appendFrame(dst []byte, kind byte, payload []byte) []byte {
	var head [frameHead]byte
	putHead(head[:], kind, len(payload))
	return append(append(dst, head[:]...), payload...)
}

// frameReader reads frames from a connection. What it returns is good until the next.
type frameReader struct {
	*bufio.Reader
	buf []byte
}

// The buffer is small: a message goes past it, into the memory it is meant for.
func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{Reader: bufio.NewReaderSize(r, 4<<10)}
}

// head reads the head of a frame; limit says how long a frame of that kind may be,
// negative: there is no such kind.
func (r *frameReader) head(limit func(kind byte) int) (kind byte, n int, err error) {
	b, err := r.Peek(frameHead)
	if err != nil {
		if len(b) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	size := binary.LittleEndian.Uint32(b)
	kind = b[4]
	if b[5]|b[6]|b[7] != 0 {
		return 0, 0, broken("a frame's head has rubbish in it")
	}
	most := limit(kind)
	if most < 0 {
		return 0, 0, broken("a frame of kind %q", kind)
	}
	if uint64(size) > uint64(most) {
		return 0, 0, broken("a frame of kind %q with %d bytes, at most %d are taken", kind, size, most)
	}
	_, err = r.Discard(frameHead)
	return kind, int(size), err
}

// body reads what follows a head.
func (r *frameReader) body(n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if cap(r.buf) > 1<<20 {
		r.buf = nil // not kept for the rare one
	}
	_, err := io.ReadFull(r, b)
	return b, err
}

func (r *frameReader) next(limit func(kind byte) int) (kind byte, b []byte, err error) {
	kind, n, err := r.head(limit)
	if err != nil {
		return 0, nil, err
	}
	b, err = r.body(n)
	return kind, b, err
}

func controlLimit(byte) int { return maxControl }

// fromGuest are the frames that a child may send for an environment.
func fromGuest(kind byte) int {
	switch kind {
	case kindLine:
		return maxLine
	case kindReply:
		return replyHead + maxBody
	case kindStarted:
		return maxFailure
	case kindRested:
		return 1
	}
	return -1
}

// toGuest are the frames that a child takes for an environment.
func toGuest(kind byte) int {
	switch kind {
	case kindStart:
		return maxVersion
	case kindCall:
		return callHead + 1<<10
	case kindRest:
		return 0
	}
	return -1
}

// callHead: u32 call, u32 flags, u32 size, u32 zero, i64 nanoseconds left. The id follows.
const callHead = 24

const (
	callJSON   = 1 << 0
	callInTray = 1 << 1 // the message does not follow the frame
)

type call struct {
	number uint32
	json   bool
	inTray bool
	size   int
	left   time.Duration
	id     string
}

// appendCall appends the frame; the message is to follow, unless it is in the tray.
func appendCall(dst []byte, c call) []byte {
	le := binary.LittleEndian
	var head [frameHead]byte
	c.id = c.id[:min(len(c.id), 1<<10)]
	putHead(head[:], kindCall, callHead+len(c.id))
	dst = append(dst, head[:]...)
	dst = le.AppendUint32(dst, c.number)
	var flags uint32
	if c.json {
		flags |= callJSON
	}
	if c.inTray {
		flags |= callInTray
	}
	dst = le.AppendUint32(dst, flags)
	dst = le.AppendUint32(dst, uint32(c.size))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, uint64(c.left))
	return append(dst, c.id...)
}

func decodeCall(b []byte) (call, error) {
	le := binary.LittleEndian
	if len(b) < callHead {
		return call{}, broken("a call of %d bytes", len(b))
	}
	size := le.Uint32(b[8:])
	if size > maxRequest {
		return call{}, broken("a message of %d bytes", size)
	}
	flags := le.Uint32(b[4:])
	return call{number: le.Uint32(b), json: flags&callJSON != 0, inTray: flags&callInTray != 0, size: int(size),
		left: time.Duration(le.Uint64(b[16:])), id: string(b[callHead:])}, nil
}

// replyHead: u32 call, u32 flags, u64 work, i64 memory, i64 nanoseconds.
const replyHead = 32

const (
	replyFailed   = 1 << 0 // a failure follows
	replyReusable = 1 << 1 // the environment takes another call
	replyInTray   = 1 << 2 // the message lies in the tray, and its length follows
)

// appendReplyHead appends the head of the frame and of the reply; n bytes are to follow.
func appendReplyHead(dst []byte, number uint32, reusable, inTray bool, r *wasm.Reply, n int) []byte {
	le := binary.LittleEndian
	var head [frameHead]byte
	putHead(head[:], kindReply, replyHead+n)
	dst = append(dst, head[:]...)
	dst = le.AppendUint32(dst, number)
	var flags uint32
	if r.Failure != nil {
		flags |= replyFailed
	}
	if reusable {
		flags |= replyReusable
	}
	if inTray {
		flags |= replyInTray
	}
	dst = le.AppendUint32(dst, flags)
	dst = le.AppendUint64(dst, r.Work)
	dst = le.AppendUint64(dst, uint64(r.MaxMemory))
	return le.AppendUint64(dst, uint64(r.Duration))
}

// No processor takes more steps than this, and a guest that is stopped may have been
// charged for one long one, a fill of all memory, that it did not get to.
const (
	stepsPerNanosecond = 16
	longestStep        = 1 << 25
)

// decodeReply reads a reply and judges what can be judged here: numbers are cut to
// what they can be. The body aliases b, or is missing: then that many bytes
// are to be taken from the tray.
func decodeReply(b []byte, number uint32, memory int64, took time.Duration) (r wasm.Reply, reusable bool, inTray int, err error) {
	le := binary.LittleEndian
	if len(b) < replyHead {
		return r, false, 0, broken("a reply of %d bytes", len(b))
	}
	if got := le.Uint32(b); got != number {
		return r, false, 0, broken("a reply to call %d, want %d", got, number)
	}
	flags := le.Uint32(b[4:])
	reusable = flags&replyReusable != 0
	r.MaxMemory = min(max(0, int64(le.Uint64(b[16:]))), memory)
	r.Duration = min(max(0, time.Duration(le.Uint64(b[24:]))), took)
	r.Work = min(le.Uint64(b[8:]), uint64(max(0, took))*stepsPerNanosecond+longestStep)
	body := b[replyHead:]
	switch flags & (replyFailed | replyInTray) {
	case 0:
		r.Body = body
	case replyFailed:
		r.Failure, err = decodeFailure(body)
	case replyInTray:
		if len(body) != 4 {
			return r, false, 0, broken("a reply in the tray, and its length in %d bytes", len(body))
		}
		n := le.Uint32(body)
		if n > maxBody {
			return r, false, 0, broken("a reply of %d bytes in the tray", n)
		}
		inTray = int(n)
	default:
		err = broken("a failure in the tray")
	}
	return r, reusable && err == nil, inTray, err
}

func encodeFailure(f *runtime.InitError) []byte {
	cut := *f
	cut.Message = cut.Message[:min(len(cut.Message), 16<<10)]
	b, _ := json.Marshal(cut) // strings and bytes
	if len(b) > maxFailure-64 {
		cut.Stack = nil
		b, _ = json.Marshal(cut)
	}
	return b
}

func decodeFailure(b []byte) (*runtime.InitError, error) {
	var f runtime.InitError
	if len(b) > maxFailure {
		return nil, broken("a failure of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, broken("a failure that cannot be read: %v", err)
	}
	switch f.Outcome {
	case runtime.FunctionError, runtime.Timeout, runtime.Infrastructure:
	default:
		return nil, broken("a failure with outcome %d", f.Outcome)
	}
	f.Type = f.Type[:min(len(f.Type), 256)]
	f.Message = f.Message[:min(len(f.Message), 16<<10)]
	if len(f.Stack) > 32<<10 || len(f.Stack) > 0 && !json.Valid(f.Stack) {
		f.Stack = nil
	}
	return &f, nil
}

// startReport says how a start-up went: all empty is well.
type startReport struct {
	Failure *runtime.InitError `json:"failure,omitempty"` // the function's
	Error   string             `json:"error,omitempty"`   // ours
}

type loadOrder struct {
	Dir      string `json:"dir"` // of the cache's entry
	SHA256   string `json:"sha256"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	Endpoint string `json:"endpoint"`
	harden
}

type loadReport struct {
	Error   string   `json:"error,omitempty"`
	Missing []string `json:"missing,omitempty"` // protections that could not be had
	Probe   []string `json:"probe,omitempty"`   // of a test
}

// alongside is the ticket of a connection that comes with the frame itself.
const alongside = "+"

type openOrder struct {
	Environment uint32 `json:"environment"`
	Mapped      int64  `json:"mapped"`           // bytes that the process may map writable from now on
	Ticket      string `json:"ticket,omitempty"` // of the connection, where it is not sent along
	Tray        bool   `json:"tray,omitempty"`   // it is sent along, behind the connection
}

type compileOrder struct {
	Dir     string `json:"dir"`
	Workers int    `json:"workers"`
	harden
}

type compileReport struct {
	Error string `json:"error,omitempty"`
	// Refused says that the error is the code's fault.
	Refused bool     `json:"refused,omitempty"`
	ABI     string   `json:"abi,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

// Kinds of an askOrder.
const (
	askDial    = "dial"
	askResolve = "resolve"
	askRoots   = "roots"
)

// askOrder is a question of a guest's to the door.
type askOrder struct {
	Number uint32        `json:"number"`
	Kind   string        `json:"kind"`
	Place  string        `json:"place,omitempty"` // host:port or host
	Left   time.Duration `json:"left,omitempty"`
}

// toldReport is the answer. Roots come in several, More but for the last.
type toldReport struct {
	Number    uint32   `json:"number"`
	Fault     *int     `json:"fault,omitempty"` // a runtime.DialFault; nil: it went well, or see Error
	Error     string   `json:"error,omitempty"`
	Ticket    string   `json:"ticket,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Roots     []byte   `json:"roots,omitempty"`
	More      bool     `json:"more,omitempty"`
}

// harden says which protections the child is to put on.
type harden struct {
	Portable   bool `json:"portable,omitempty"` // none: for systems that have none
	NoLandlock bool `json:"noLandlock,omitempty"`
	// Memory is the address space of a compile child in bytes.
	Memory int64 `json:"memory,omitempty"`
}

func putDuration(b []byte, d time.Duration) { binary.LittleEndian.PutUint64(b, uint64(d)) }
