package filter

// A number's order: twice its value in millionths, and one further from zero if
// decimals are left. So whole orders compare like the numbers, as long as one side
// has at most six decimals, which patterns' numbers have.
const maxOrder = 2 * 5_000_000_000 * 1_000_000

// order gives a JSON number's order, if it is within ±5,000,000,000. It takes time
// in proportion to the number's length.
func order(raw []byte) (n int64, ok bool) {
	i, negative := 0, false
	if raw[0] == '-' {
		i, negative = 1, true
	}
	mantissa := raw[i:]
	exp := 0
	for j, c := range mantissa {
		if c|0x20 != 'e' {
			continue
		}
		text, down := mantissa[j+1:], false
		if text[0] == '+' || text[0] == '-' {
			text, down = text[1:], text[0] == '-'
		}
		for _, d := range text {
			exp = min(exp*10+int(d-'0'), 1<<40) // beyond any length
		}
		if down {
			exp = -exp
		}
		mantissa = mantissa[:j]
		break
	}
	// The value is 0.ddd… times ten to the power of point, its digits without zeros in
	// front; before says how many of them are before the written point.
	point, written, begun := 0, false, false
	digits := int64(0) // those up to the millionths
	taken, rest := 0, false
	for _, c := range mantissa {
		if c == '.' {
			written = true
			continue
		}
		if c != '0' {
			begun = true
		}
		switch {
		case !written && begun:
			point++
		case written && !begun:
			point--
		}
	}
	if !begun {
		return 0, true
	}
	point += exp
	if point > 10 {
		return 0, false
	}
	keep := point + 6
	begun = false
	for _, c := range mantissa {
		if c == '.' || c == '0' && !begun {
			continue
		}
		begun = true
		if taken < keep {
			digits = digits*10 + int64(c-'0')
			taken++
		} else if c != '0' {
			rest = true
			break
		}
	}
	for ; taken < keep; taken++ {
		digits *= 10
	}
	n = 2 * digits
	if rest {
		n++
	}
	if n > maxOrder {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}
