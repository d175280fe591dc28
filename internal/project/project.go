// Package project holds the rules of wasmill.toml: what a file asks for, what a
// server has, and the steps from one to the other.
//
// [Read] takes a file's text and names everything that is wrong with it at
// once, each with its line and column. [Make] compares a [Project] with what
// was [Found] and returns a [Plan]; carrying it out is the caller's. Nothing in
// this package touches a disk, a network or the clock.
package project

import (
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// FileName is what a project's file is called.
const FileName = "wasmill.toml"

// Project is what a file asks for, with defaults filled in: one function, the
// triggers that call it, and what is to be known of streams. What the file
// leaves out is the default, not what the server happens to have; only
// streams, which others share, are left as they are.
type Project struct {
	Function Function
	Triggers []Trigger
	Streams  []Stream // in the file's order; one for each stream named anywhere
	// Warnings are about what is taken but likely to surprise.
	Warnings []string
}

// Function is a function as a file or a server has it.
type Function struct {
	Name string
	// Source is the folder of a Go program or a .wasm file, relative to the
	// file's folder, with slashes. Only of a file.
	Source string
	// Digest of the code: hex SHA-256. Of a file it is set once the source is built.
	Digest string
	Config functions.Config
}

// Trigger is a trigger as a file or a server has it.
type Trigger struct {
	Name   string
	Config triggers.Config
	// From is the starting place as it was written. Only of a file.
	From string
	// Paused of a file: nil leaves that to the server.
	Paused *bool
	// The rest only of a server. Generation is above 1 once the trigger was moved in its stream.
	Generation int
	Created    time.Time
}

// Stream is a stream as a file or a server has it.
type Stream struct {
	Name string
	// Shards of a file: 0 does not care, and makes a stream with one, or with four if
	// it is on-demand. An on-demand stream that exists has as many as it needs.
	Shards int
	// Mode of a file: "" does not care, and makes a provisioned stream.
	Mode stream.Mode
	// Retention of a file: 0 does not care, and makes a stream with the server's default.
	Retention time.Duration
	// MaxBytes is the most its records may take, 0 without limit. Nil, of a
	// file: does not care, and makes a stream without limit.
	MaxBytes *int64
	// RecordBytes is the most of one record. Of a file: 0 does not care, and makes
	// a stream with the server's default.
	RecordBytes int
	Created     time.Time // only of a server
}

// Found is what a server has.
type Found struct {
	Function *Function // of the project's name; nil: there is none
	Triggers []Trigger // all there are
	Streams  []Stream  // all there are
}

// Words read the values that people write, in the same way as the command
// line does. All fields are needed.
type Words struct {
	Duration  func(text string) (time.Duration, error)
	Megabytes func(text string) (int, error)
	Bytes     func(text string) (int64, error)
	Place     func(text string) (stream.Position, error)
	// Filter says what is wrong with a trigger's filter pattern, if something is.
	Filter func(pattern string, strict bool) error
	// Getenv returns a variable of whoever deploys; empty: not set.
	Getenv func(name string) string
	// Near picks those of names that a person who typed name may have meant.
	Near func(name string, names []string) []string
}
