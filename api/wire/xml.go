package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appendXML writes the answer to a Query: what out has within a Result, if there is one.
func (x *exchange) appendXML(b []byte, out any) ([]byte, error) {
	op := x.to.operation.Name
	b = append(b, "<"+op+`Response xmlns="`+x.to.service.XML+`">`...)
	if out != nil {
		var err error
		if b, err = appendElement(b, op+"Result", reflect.ValueOf(out)); err != nil {
			return b, err
		}
	}
	return append(b, "<ResponseMetadata><RequestId>"+x.id+"</RequestId></ResponseMetadata></"+op+"Response>\n"...), nil
}

// xmlError is an error in the Query protocol.
func (x *exchange) xmlError(e *Error) []byte {
	b := []byte(`<ErrorResponse xmlns="` + x.to.service.XML + `"><Error><Type>` + e.blames("Sender", "Receiver") + "</Type><Code>")
	b = appendEscaped(b, e.queryCode())
	b = append(b, "</Code>"...)
	if e.Message != "" {
		b = append(appendEscaped(append(b, "<Message>"...), e.Message), "</Message>"...)
	}
	return append(b, "</Error><RequestId>"+x.id+"</RequestId></ErrorResponse>\n"...)
}

func appendEscaped(b []byte, s string) []byte {
	buf := bytes.NewBuffer(b)
	_ = xml.EscapeText(buf, []byte(s)) // a buffer takes everything
	return buf.Bytes()
}

// appendElement writes what encoding/json would with the same tags, but null as nothing:
// lists as elements member, maps as elements entry, times in ISO 8601.
func appendElement(b []byte, name string, v reflect.Value) ([]byte, error) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return b, nil
	}
	b = append(append(append(b, '<'), name...), '>')
	b, err := appendContent(b, v)
	return append(append(append(b, "</"...), name...), '>'), err
}

func appendContent(b []byte, v reflect.Value) ([]byte, error) {
	var err error
	switch v.Kind() {
	case reflect.String:
		return appendEscaped(b, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return appendXMLFloat(b, v.Float()), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return base64.StdEncoding.AppendEncode(b, v.Bytes()), nil
		}
		for i := range v.Len() {
			if b, err = appendElement(b, "member", v.Index(i)); err != nil {
				return b, err
			}
		}
		return b, nil
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			b = append(appendEscaped(append(b, "<entry><key>"...), key.String()), "</key>"...)
			if b, err = appendElement(b, "value", v.MapIndex(key)); err != nil {
				return b, err
			}
			b = append(b, "</entry>"...)
		}
		return b, nil
	case reflect.Struct:
		if t, ok := v.Interface().(Time); ok {
			return time.Time(t).UTC().AppendFormat(b, "2006-01-02T15:04:05.999Z07:00"), nil
		}
		fields := fieldsOf(v.Type())
		for i := range fields {
			if fields[i].absent(v) {
				continue
			}
			if b, err = appendElement(b, fields[i].name, v.FieldByIndex(fields[i].index)); err != nil {
				return b, err
			}
		}
		return b, nil
	}
	return b, fmt.Errorf("wire: %s has no form in XML", v.Type())
}

func appendXMLFloat(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64) // NaN as NaN
}
