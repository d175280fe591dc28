package module

// An operand is what follows the byte of an instruction.
type operand byte

const (
	unknown operand = iota
	none
	blockType
	elseMark
	endMark
	label
	labels // of br_table
	leave  // none, and nothing behind it is reached: unreachable, return
	function
	indirect // type, table
	local
	globalIndex
	tableIndex
	address // alignment, offset
	memory  // its index, a byte
	int32Const
	int64Const
	bytes4
	bytes8
	selectType
	refType
	refFunc
	prefixFC
	prefixFD
)

// operands of the instructions of WebAssembly 2.0 by their first byte, from
// https://www.w3.org/TR/wasm-core-2/#instructions%E2%91%A6.
var operands = func() (t [256]operand) {
	set := func(from, to int, o operand) {
		for i := from; i <= to; i++ {
			t[i] = o
		}
	}
	t[0x00], t[0x0f] = leave, leave
	t[0x01] = none
	set(0x02, 0x04, blockType)
	t[0x05], t[0x0b] = elseMark, endMark
	set(0x0c, 0x0d, label)
	t[0x0e] = labels
	t[0x10], t[0x11] = function, indirect
	set(0x1a, 0x1b, none)
	t[0x1c] = selectType
	set(0x20, 0x22, local)
	t[0x23], t[0x24] = globalIndex, globalIndex
	set(0x25, 0x26, tableIndex)
	set(0x28, 0x3e, address)
	t[0x3f], t[0x40] = memory, memory
	t[0x41], t[0x42], t[0x43], t[0x44] = int32Const, int64Const, bytes4, bytes8
	set(0x45, 0xc4, none)
	t[0xd0], t[0xd1], t[0xd2] = refType, none, refFunc
	t[0xfc], t[0xfd] = prefixFC, prefixFD
	return t
}()

// Instructions behind 0xfc that are not conversions.
const (
	memoryInit = 8 + iota
	dataDrop
	memoryCopy
	memoryFill
	tableInit
	elemDrop
	tableCopy
	tableGrow
	tableSize
	tableFill
)

// bulkNames are theirs; conversions are not named anywhere.
var bulkNames = [tableFill + 1]string{
	memoryInit: "memory.init", dataDrop: "data.drop", memoryCopy: "memory.copy", memoryFill: "memory.fill",
	tableInit: "table.init", elemDrop: "elem.drop", tableCopy: "table.copy",
	tableGrow: "table.grow", tableSize: "table.size", tableFill: "table.fill",
}

// vector says of an instruction behind 0xfd how many bytes follow its address,
// if it has one, or its number.
func vector(op uint32) (hasAddress bool, bytes uint32, known bool) {
	switch {
	case op <= 11, op == 92, op == 93:
		return true, 0, true
	case op == 12, op == 13: // v128.const, i8x16.shuffle
		return false, 16, true
	case op >= 21 && op <= 34: // lanes
		return false, 1, true
	case op >= 84 && op <= 91: // loads and stores of a lane
		return true, 1, true
	}
	switch op { // numbers that were given to nothing
	case 0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee:
		return false, 0, false
	}
	return false, 0, op <= 0xff
}

// feature names what an unknown instruction belongs to.
func feature(op byte) string {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "exception handling"
	case 0x12, 0x13:
		return "tail calls"
	case 0x14, 0x15, 0xd3, 0xd4, 0xd5, 0xd6:
		return "typed function references"
	case 0xfb:
		return "garbage collection"
	case 0xfe:
		return "threads"
	}
	return "an unknown feature"
}
