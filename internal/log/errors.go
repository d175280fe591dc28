package log

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound means there is no log of that id, or it has been deleted.
	ErrNotFound = errors.New("log: not found")
	// ErrExists means a log of that id has another epoch.
	ErrExists = errors.New("log: exists with another epoch")
	// ErrClosed means the log has ended: it takes no more records, ever.
	ErrClosed = errors.New("log: ended")
	// ErrUnavailable means the log cannot be written or read now: disk reserve
	// reached, no space, server restarting, or too much is waiting. Of an append
	// nothing is stored unless places came with the error; repeat it later.
	ErrUnavailable = errors.New("log: unavailable")
	// ErrUnknown means the set was closed before the fate of an append was
	// certain: the records may be stored or not.
	ErrUnknown = errors.New("log: outcome unknown")
	// ErrNotYet means what was asked for is not written yet: wait by [Log.Watch].
	ErrNotYet = errors.New("log: not yet written")
	// ErrRefused means that the newest frame of a source is another than the caller
	// of [Log.AppendFrom] says. Nothing is stored; look by [Log.LastFrom].
	ErrRefused = errors.New("log: the source has moved on")
	// ErrTooLarge means a record can never be stored; see [MaxRecordBytes].
	ErrTooLarge = errors.New("log: record too large")
)

// MaxRecordBytes is the most a record may take encoded, about the sum of its
// strings and data.
const MaxRecordBytes = maxFrameBytes - headBytes - 1

// TrimmedError means what was asked for has been trimmed away.
type TrimmedError struct {
	FirstFrame  uint64 // oldest frame kept
	FirstNumber uint64 // running number of its first record
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("log: trimmed up to frame %d, record %d", e.FirstFrame, e.FirstNumber)
}

// CorruptError is a frame that is not as it was written, or is missing between
// others. Reading stops there; a reader that may pass it goes on at NextFrame
// and has lost the records from its own position up to NextNumber.
type CorruptError struct {
	Log    string
	Seq    uint64 // the frame
	Epoch  uint32 // of the log
	Reason string
	// First is the running number of the first record that is lost. In a run of
	// frames whose heads are damaged too it is that of the whole run.
	First uint64
	// NextFrame is the frame to go on at. It need not be written yet.
	NextFrame uint64
	// NextNumber is the running number reading goes on with. It is exact unless
	// the newest frame of a log was damaged in its head: then it is up to 65,535
	// a frame too large, since no number is ever given twice.
	NextNumber uint64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log: %s: frame %d is corrupt: %s", e.Log, e.Seq, e.Reason)
}
