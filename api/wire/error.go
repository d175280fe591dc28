package wire

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Error is an answer that says what is wrong, in AWS's words.
type Error struct {
	Code    string // "ResourceNotFoundException"
	Message string // empty: none is sent
	// Status defaults to 400.
	Status int
	// Fields are further members of the error's structure.
	Fields map[string]any
	// Cause is logged, and not sent.
	Cause error
}

// Errorf makes an error of status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }
func (e *Error) Unwrap() error { return e.Cause }

func (e *Error) status() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// The codes that the protocols themselves know.
const (
	codeSerialization = "SerializationException"
	codeValidation    = "ValidationException"
	codeUnknown       = "UnknownOperationException"
	codeInternal      = "InternalFailure"
	codeIncomplete    = "IncompleteSignatureException"
	codeSignature     = "InvalidSignatureException"
	codeNoToken       = "MissingAuthenticationTokenException"
	codeDenied        = "AccessDeniedException"
	codeTooLarge      = "RequestEntityTooLargeException"
	codeTimeout       = "RequestTimeoutException"
	codeUnavailable   = "ServiceUnavailable"
)

// append writes the error's structure. A SerializationException has Message, all others
// message: npm kinesalite, test/helpers.js.
func (e *Error) append(b []byte, f Format) ([]byte, error) {
	name := "message"
	if e.Code == codeSerialization {
		name = "Message"
	}
	if !f.JSON() {
		all := map[string]any{"__type": e.Code}
		if e.Message != "" {
			all[name] = e.Message
		}
		maps.Copy(all, e.Fields)
		return appendAnswer(b, f, all)
	}
	b = append(b, `{"__type":`...)
	b, err := appendAnswer(b, f, e.Code)
	if e.Message != "" && err == nil {
		b = append(b, `,"`+name+`":`...)
		b, err = appendAnswer(b, f, e.Message)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Fields)) {
		if err != nil {
			break
		}
		quoted, _ := json.Marshal(key)
		b = append(append(append(b, ','), quoted...), ':')
		b, err = appendAnswer(b, f, e.Fields[key])
	}
	return append(b, '}'), err
}
