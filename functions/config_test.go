package functions

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestConfigLimits(t *testing.T) {
	env := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	streams := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprint("s", i))
		}
		return names
	}
	tests := []struct {
		name   string
		config Config
		fault  string // part of it; empty: none
	}{
		{"the zero value works", Config{}, ""},
		{"900 s are the longest timeout", Config{Timeout: 900 * time.Second}, ""},
		{"901 s are too long", Config{Timeout: 901 * time.Second}, "timeout 15m1s"},
		{"less than a second is too short", Config{Timeout: 999 * time.Millisecond}, "timeout 999ms"},
		{"a timeout is whole seconds", Config{Timeout: 1500 * time.Millisecond}, "timeout 1.5s"},
		{"127 MB are too little", Config{Memory: 127}, "memory 127 MB"},
		{"10240 MB are the most", Config{Memory: 10_240}, ""},
		{"10241 MB are too much", Config{Memory: 10_241}, "memory 10241 MB"},
		{"256 characters of description fit, not bytes", Config{Description: strings.Repeat("ü", 256)}, ""},
		{"257 do not", Config{Description: strings.Repeat("ü", 257)}, "description of 257 characters"},
		{"an environment of 4 KB fits", Config{Environment: env("AB", strings.Repeat("x", 4094))}, ""},
		{"a byte more does not", Config{Environment: env("AB", strings.Repeat("x", 4095))}, "environment of 4097 bytes"},
		{"reserved names are refused", Config{Environment: env("AWS_REGION", "eu-west-1")}, "AWS_REGION: the runtime sets it"},
		{"so is the handler's", Config{Environment: env("_HANDLER", "x")}, "_HANDLER: the runtime sets it"},
		{"TZ may be set", Config{Environment: env("TZ", "Europe/Vienna")}, ""},
		{"other names begin with a letter", Config{Environment: env("_A", "x")}, `"_A": want a letter`},
		{"names have no -", Config{Environment: env("A-B", "x")}, `"A-B": want a letter`},
		{"32 streams to emit to fit", Config{Emits: streams(32)}, ""},
		{"33 do not", Config{Emits: streams(33)}, "33 streams to emit to: want at most 32"},
		{"a stream is named once", Config{Emits: []string{"a", "b", "a"}}, `"a": named twice`},
		{"a stream is named as streams are", Config{Emits: []string{"a b"}}, `"a b": want a stream's name`},
		{"no stream has an empty name", Config{Emits: []string{""}}, `"": want a stream's name`},
		{"a stream's name has 128 characters at most", Config{Emits: []string{strings.Repeat("a", 129)}}, "1 to 128 letters"},
		{"of these kinds", Config{Emits: []string{"Az_0.-", strings.Repeat("a", 128)}}, ""},
		{"values have no zero", Config{Environment: env("AB", "x\x00")}, "AB: want UTF-8 without zero"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.config.WithDefaults().Validate()
			switch {
			case tt.fault == "" && err != nil:
				t.Error(err)
			case tt.fault != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("got %v, want %q", err, tt.fault)
			}
		})
	}
}

func TestConfigNamesEveryFaultAtOnce(t *testing.T) {
	_, err := Config{Timeout: time.Hour, Memory: 1, Environment: map[string]string{"AWS_REGION": "", "1": ""}}.Validate()
	for _, want := range []string{"timeout", "memory", "AWS_REGION", `"1"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestMemoryAboveTheCapIsTakenAndWarnedOf(t *testing.T) {
	for memory, want := range map[int]int{4096: 0, 4097: 1, 10_240: 1} {
		if warnings, err := (Config{Memory: memory}).WithDefaults().Validate(); err != nil || len(warnings) != want {
			t.Errorf("%d MB: warnings %q, error %v, want %d warnings", memory, warnings, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{"a": true, "A-b_9": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "": false, "a b": false, "ä": false, "a.b": false, "a/b": false, "a\n": false} {
		if err := ValidateName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
