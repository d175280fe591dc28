package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

func printLine(text string) func(io.Writer) {
	return func(w io.Writer) { fmt.Fprintln(w, text) }
}

// table prints rows under a heading, aligned.
func table(w io.Writer, heading string, rows [][]any) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(cell))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	t.Flush()
}

// facts prints pairs of a name and a value; empty values are left out.
func facts(w io.Writer, pairs ...any) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], value)
		}
	}
	t.Flush()
}

// bar draws a share of 0 to 1.
func (c *cli) bar(share float64, width int) string {
	full, empty := "█", "░"
	if c.getenv("TERM") == "dumb" {
		full, empty = "#", "."
	}
	n := int(math.Round(max(0, min(1, share)) * float64(width)))
	if share > 0 {
		n = max(n, 1)
	}
	return strings.Repeat(full, n) + strings.Repeat(empty, width-n)
}

// count groups digits: 1,234,567.
func count[T int | int64 | uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes as people do, to three digits.
func size[T int | int64 | uint64](n T) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	digits := 2
	if v >= 100 {
		digits = 0
	} else if v >= 10 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + []string{"", "KiB", "MiB", "GiB", "TiB"}[unit]
}

// parseSize reads 1048576, 64KB, 5MB, 1.5GiB. Units are of 1024, with or without the i.
func parseSize(text string) (int64, error) {
	s := strings.ToUpper(strings.TrimSpace(text))
	shift := 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		for _, end := range []string{unit + "IB", unit + "B", unit} {
			if rest, ok := strings.CutSuffix(s, end); ok && shift == 0 {
				s, shift = strings.TrimSpace(rest), 10*(i+1)
			}
		}
	}
	if shift == 0 {
		s = strings.TrimSpace(strings.TrimSuffix(s, "B"))
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || math.IsNaN(n) || n*math.Pow(2, float64(shift)) >= 1<<62 {
		return 0, fmt.Errorf("%q is no size: want 500MB, 64KB, 2GB or a number of bytes", text)
	}
	return int64(n * math.Pow(2, float64(shift))), nil
}

// sizeFlag and durationFlag are flags that read what people write.
type sizeFlag int64

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return size(int64(*f))
}
func (f *sizeFlag) Type() string { return "size" }
func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}

type durationFlag time.Duration

func (f *durationFlag) String() string {
	if *f == 0 {
		return ""
	}
	return admin.Duration(*f).String()
}
func (f *durationFlag) Type() string { return "duration" }
func (f *durationFlag) Set(s string) error {
	d, err := admin.ParseDuration(s)
	*f = durationFlag(d)
	return err
}

type timeFlag time.Time

func (f *timeFlag) String() string { return stamp(time.Time(*f)) }
func (f *timeFlag) Type() string   { return "time" }
func (f *timeFlag) Set(s string) error {
	t, err := admin.ParseTime(s, time.Now())
	*f = timeFlag(t)
	return err
}

// ago says how long before now a time was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(time.Since(t)) + " ago"
}

// span rounds a duration to what matters.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return admin.Duration(d.Round(time.Second)).String()
	case d < 48*time.Hour:
		return admin.Duration(d.Round(time.Minute)).String()
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// quick bounds a call that only adds something nice.
func quick(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 500*time.Millisecond)
}

// progress repaints one line of a terminal; elsewhere it prints a line now and then.
type progress struct {
	c     *cli
	every time.Duration

	mu      sync.Mutex // guards what follows
	last    time.Time
	painted bool
	ended   bool
}

func (c *cli) progress() *progress {
	p := &progress{c: c, every: 5 * time.Second, last: time.Now()}
	if c.moving() {
		p.every, p.last = 100*time.Millisecond, time.Time{}
	}
	return p
}

// moving says that lines may be painted over.
func (c *cli) moving() bool { return c.errTTY && !c.plain() && !c.quiet && !c.json }

// show prints text, unless the last one is too recent.
func (p *progress) show(text func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.c.quiet || p.c.json || time.Since(p.last) < p.every {
		return
	}
	p.last = time.Now()
	if p.c.moving() {
		fmt.Fprintf(p.c.err, "\r\x1b[K%s", text())
		p.painted = true
		return
	}
	fmt.Fprintln(p.c.err, text())
}

// clear removes the line and shows no more.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.painted {
		fmt.Fprint(p.c.err, "\r\x1b[K")
		p.painted = false
	}
}

type codeView struct {
	Code       string         `json:"code"`
	Title      string         `json:"title"`
	Category   admin.Category `json:"category"`
	ExitStatus int            `json:"exitStatus"`
	Retryable  bool           `json:"retryable"`
	Explain    string         `json:"explain"`
	Actions    []admin.Action `json:"actions"`
}

func viewCodes(codes []admin.Code) []codeView {
	out := make([]codeView, len(codes))
	for i, c := range codes {
		out[i] = codeView{c.ID, c.Title, c.Category, c.Category.ExitStatus(), c.Retryable, c.Explain, c.Actions}
	}
	return out
}

func codeTable(w io.Writer) {
	var rows [][]any
	for _, c := range admin.Codes {
		rows = append(rows, []any{c.ID, c.Category, c.Title})
	}
	table(w, "CODE CATEGORY MEANS", rows)
}

func explainCode(c admin.Code) func(io.Writer) {
	return func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s\n\n%s\n\nWhat to do:\n", c.ID, c.Title, wrap(c.Explain, 96))
		for _, a := range c.Actions {
			if a.Command == "" {
				fmt.Fprintf(w, "  - %s\n", a.Text)
				continue
			}
			fmt.Fprintf(w, "  - %s: %s\n", a.Text, a.Command)
		}
		again := "no"
		if c.Retryable {
			again = "yes"
		}
		fmt.Fprintf(w, "\nCategory %s, exit status %d, worth repeating unchanged: %s.\n", c.Category, c.Category.ExitStatus(), again)
	}
}

// wrap breaks text between words.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > width {
			b.WriteByte('\n')
			column = 0
		} else if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
