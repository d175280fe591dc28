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
	// Capital has the message sent as Message instead of message, as some of Lambda's errors are.
	Capital bool
	// Bare leaves out Type, which Lambda's errors have: those of its front door lack it.
	Bare bool
	// Header are further headers of the answer.
	Header http.Header
	// Query is the code in the Query protocol, if it is another there
	// ("InvalidParameterValue"). Clients of the other protocols of such a service are told it
	// in a header.
	Query string
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
	codeService       = "ServiceException"
)

// append writes the error's structure. A SerializationException has Message, all others
// message: npm kinesalite, test/helpers.js.
func (e *Error) append(b []byte, f Format) ([]byte, error) {
	if f == RESTJSON {
		return e.appendREST(b)
	}
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

// appendREST writes an error as AWS Lambda does: whose fault it is and what is wrong. The
// code is in a header.
func (e *Error) appendREST(b []byte) ([]byte, error) {
	all := map[string]any{}
	if !e.Bare && !slices.Contains(doorCodes, e.Code) {
		all["Type"] = e.blames("User", "Service")
	}
	switch {
	case e.Message == "":
	case e.Capital || e.Code == codeSerialization:
		all["Message"] = e.Message
	default:
		all["message"] = e.Message
	}
	maps.Copy(all, e.Fields)
	return appendAnswer(b, RESTJSON, all)
}

// doorCodes are those that a service's front door answers: such errors have no Type.
var doorCodes = []string{codeSerialization, codeValidation, codeUnknown, codeIncomplete, codeSignature, codeNoToken, codeDenied, codeTooLarge, codeTimeout, codeUnavailable}

// blames is client's if the error is the client's, else server's.
func (e *Error) blames(client, server string) string {
	if e.status() < http.StatusInternalServerError {
		return client
	}
	return server
}
