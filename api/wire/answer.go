package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Appender may be implemented by answers that write themselves faster than reflection
// does.
type Appender interface {
	// AppendAnswer appends the whole answer to b; ok = false leaves it to reflection. It is
	// not asked for XML.
	AppendAnswer(b []byte, f Format) (out []byte, ok bool)
}

// Sizer may be implemented by an [Appender]: about how many bytes it will append, so that a
// large answer is not copied as it grows.
type Sizer interface{ AnswerSize() int }

// sizeOf is the room that an answer gets to begin with.
func sizeOf(v any) int {
	if s, ok := v.(Sizer); ok {
		return max(s.AnswerSize(), smallest)
	}
	return smallest
}

// appendAnswer writes an answer: a struct, or a map with strings as keys.
func appendAnswer(b []byte, f Format, v any) ([]byte, error) {
	if a, ok := v.(Appender); ok {
		if out, ok := a.AppendAnswer(b, f); ok {
			return out, nil
		}
	}
	if !f.JSON() {
		return appendCBOR(b, f, reflect.ValueOf(v))
	}
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return b, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func appendCBORInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendCBORHead(b, cborNegative, uint64(-1-n))
	}
	return appendCBORHead(b, cborUint, uint64(n))
}

func appendCBORText(b []byte, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return append(appendCBORHead(b, cborText, uint64(len(s))), s...)
}

// appendCBOR writes what encoding/json would, with the same tags.
func appendCBOR(b []byte, f Format, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Invalid:
		return append(b, cborSimple<<5|22), nil
	case reflect.Pointer, reflect.Interface:
		return appendCBOR(b, f, v.Elem()) // of nil: invalid
	case reflect.String:
		return appendCBORText(b, v.String()), nil
	case reflect.Bool:
		if v.Bool() {
			return append(b, cborSimple<<5|21), nil
		}
		return append(b, cborSimple<<5|20), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return appendCBORInt(b, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return appendCBORHead(b, cborUint, v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(append(b, cborSimple<<5|27), math.Float64bits(v.Float())), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(appendCBORHead(b, cborBytes, uint64(v.Len())), v.Bytes()...), nil
		}
		b = appendCBORHead(b, cborList, uint64(v.Len()))
		for i := range v.Len() {
			var err error
			if b, err = appendCBOR(b, f, v.Index(i)); err != nil {
				return b, err
			}
		}
		return b, nil
	case reflect.Map:
		return appendCBORMap(b, f, v)
	case reflect.Struct:
		if t, ok := v.Interface().(Time); ok {
			return t.appendCBOR(b, f), nil
		}
		return appendCBORStruct(b, f, v)
	}
	return b, fmt.Errorf("wire: %s has no form in CBOR", v.Type())
}

func appendCBORMap(b []byte, f Format, v reflect.Value) ([]byte, error) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	b = appendCBORHead(b, cborMap, uint64(len(keys)))
	for _, key := range keys {
		if key.Kind() != reflect.String {
			return b, fmt.Errorf("wire: %s has no form in CBOR", v.Type())
		}
		var err error
		if b, err = appendCBOR(appendCBORText(b, key.String()), f, v.MapIndex(key)); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendCBORStruct(b []byte, f Format, v reflect.Value) ([]byte, error) {
	fields := fieldsOf(v.Type())
	n := uint64(0)
	for i := range fields {
		if !fields[i].absent(v) {
			n++
		}
	}
	b = appendCBORHead(b, cborMap, n)
	for i := range fields {
		if fields[i].absent(v) {
			continue
		}
		var err error
		if b, err = appendCBOR(appendCBORText(b, fields[i].name), f, v.FieldByIndex(fields[i].index)); err != nil {
			return b, err
		}
	}
	return b, nil
}

type field struct {
	name                string
	index               []int
	omitEmpty, omitZero bool
}

func (f *field) absent(v reflect.Value) bool {
	v = v.FieldByIndex(f.index)
	if f.omitZero && v.IsZero() {
		return true
	}
	if !f.omitEmpty {
		return false
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

var fieldCache sync.Map // reflect.Type to []field

// fieldsOf lists the fields of a struct; those of embedded structs count as its own.
func fieldsOf(t reflect.Type) []field {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.([]field)
	}
	var out []field
	for _, sf := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if !sf.IsExported() || name == "-" || sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		opts := strings.Split(options, ",")
		out = append(out, field{name, sf.Index, slices.Contains(opts, "omitempty"), slices.Contains(opts, "omitzero")})
	}
	fieldCache.Store(t, out)
	return out
}
