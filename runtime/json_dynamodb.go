package runtime

import "time"

// appendDynamoDB appends the changes of a table.
func appendDynamoDB(dst []byte, b *Batch) []byte {
	for i := range b.Records {
		r := &b.Records[i]
		c := r.Change
		if c == nil {
			c = &noChange
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMember(append(dst, '{'), "eventID", c.EventID)
		dst = appendMember(append(dst, ','), "eventName", c.EventName)
		dst = append(dst, `,"eventVersion":"1.1","eventSource":"aws:dynamodb"`...)
		dst = appendMember(append(dst, ','), "awsRegion", b.Region)
		dst = append(dst, `,"dynamodb":`...)
		dst = append(dst, r.Data...)
		dst = appendMember(append(dst, ','), "eventSourceARN", b.ARN)
		if c.IdentityType != "" || c.IdentityPrincipal != "" {
			dst = append(dst, `,"userIdentity":{`...)
			dst = appendMember(dst, "type", c.IdentityType)
			dst = appendMember(append(dst, ','), "principalId", c.IdentityPrincipal)
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendWindowJSON appends what an event has beside its records when its mapping
// has tumbling windows.
func appendWindowJSON(dst []byte, b *Batch) []byte {
	w := b.Window
	at := func(name string, t time.Time) {
		dst = append(append(appendString(dst, name), `:"`...), t.UTC().Format(time.RFC3339)...)
		dst = append(dst, '"')
	}
	flag := func(name string, is bool) {
		dst = append(appendString(append(dst, ','), name), ':')
		if is {
			dst = append(dst, "true"...)
		} else {
			dst = append(dst, "false"...)
		}
	}
	dst = append(dst, `,"window":{`...)
	at("start", w.Start)
	dst = append(dst, ',')
	at("end", w.End)
	dst = append(dst, `},"state":`...)
	if len(w.State) == 0 {
		dst = append(dst, `{}`...)
	} else {
		dst = append(dst, w.State...)
	}
	dst = appendMember(append(dst, ','), "shardId", b.Shard)
	dst = appendMember(append(dst, ','), "eventSourceARN", b.ARN)
	flag("isFinalInvokeForWindow", w.Final)
	flag("isWindowTerminatedEarly", w.TerminatedEarly)
	return dst
}
