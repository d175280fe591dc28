package admin

import (
	"fmt"
	"io"
	"strings"
)

//go:generate go run ../../cmd/wasmill explain --markdown -o ../../docs/errors.md

// WriteDocs writes docs/errors.md.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Error codes\n\nGenerated from api/admin/codes.go by `go generate ./api/admin`; do not edit.\n\n" +
		"Every error of the command line and of the API under `/_wasmill/v1` bears one of these codes. Texts may change, codes do not: scripts branch on\n" +
		"the code. `wasmill explain CODE` shows the same. An AWS client sees AWS's own codes instead.\n\n" +
		"An error is one JSON object, the body of the HTTP answer or the `error` of the command line's `--json`:\n\n" +
		"```json\n" + `{"code":"WM2001","category":"not_found","message":"there is no stream \"quaks\"; did you mean quakes?","retryable":false,` + "\n" +
		` "details":{"stream":"quaks","didYouMean":["quakes"]},"actions":[{"text":"list the streams","command":"wasmill stream ls"}]}` + "\n```\n\n" +
		"| code | means | category | exit status | HTTP | retryable |\n|---|---|---|---|---|---|\n")
	for _, c := range Codes {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %d | %s | %s |\n", c.ID, strings.ToLower(c.ID), c.Title, c.Category, c.Category.ExitStatus(), dash(c.Status), yes(c.Retryable))
	}
	for _, c := range Codes {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\nWhat to do:\n", c.ID, c.Title, c.Explain)
		for _, a := range c.Actions {
			fmt.Fprintf(&b, "- %s", a.Text)
			if a.Command != "" {
				fmt.Fprintf(&b, ": `%s`", a.Command)
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func dash(status int) string {
	if status == 0 {
		return "-"
	}
	return fmt.Sprint(status)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// ExitStatus is how a command ends that failed with an error of the category.
func (c Category) ExitStatus() int {
	switch c {
	case Usage:
		return 2
	case NotFound:
		return 3
	case Conflict:
		return 4
	case Unreachable:
		return 5
	case TimedOut:
		return 6
	}
	return 1
}
