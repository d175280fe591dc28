package runtime

import "encoding/base64"

// appendSQS appends the messages of a queue. The texts of an event are valid UTF-8
// whatever the message is, as everywhere in JSON.
func appendSQS(dst []byte, b *Batch) []byte {
	for i := range b.Records {
		r := &b.Records[i]
		m := r.message()
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMember(append(dst, '{'), "messageId", r.Sequence)
		dst = appendMember(append(dst, ','), "receiptHandle", m.ReceiptHandle)
		dst = appendMember(append(dst, ','), "body", r.Data)
		dst = append(dst, `,"attributes":{`...)
		for j, a := range m.System {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendMember(dst, a.Name, a.Value)
		}
		dst = append(dst, `},"messageAttributes":{`...)
		for j := range m.Attributes {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendAttribute(dst, &m.Attributes[j])
		}
		dst = append(dst, '}')
		switch {
		case m.AttributesMD5 != "":
			dst = appendMember(append(dst, ','), "md5OfMessageAttributes", m.AttributesMD5)
		case b.Waited:
			dst = append(dst, `,"md5OfMessageAttributes":null`...)
		}
		dst = appendMember(append(dst, ','), "md5OfBody", m.MD5)
		dst = append(dst, `,"eventSource":"aws:sqs"`...)
		dst = appendMember(append(dst, ','), "eventSourceARN", b.ARN)
		dst = appendMember(append(dst, ','), "awsRegion", b.Region)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendAttribute appends what a sender said of a message. The lists are there
// always and empty always: SQS keeps them for later.
func appendAttribute(dst []byte, a *MessageAttribute) []byte {
	dst = append(appendString(dst, a.Name), `:{`...)
	if a.Binary {
		dst = append(dst, `"binaryValue":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, a.Value)
		dst = append(dst, '"')
	} else {
		dst = appendMember(dst, "stringValue", a.Value)
	}
	dst = append(dst, `,"stringListValues":[],"binaryListValues":[]`...)
	dst = appendMember(append(dst, ','), "dataType", a.Type)
	return append(dst, '}')
}

// appendMember appends "name":"value".
func appendMember[T string | []byte](dst []byte, name string, value T) []byte {
	dst = append(appendString(dst, name), ':')
	return appendString(dst, value)
}
