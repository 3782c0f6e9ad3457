package sdk

// Arg declares one argument of a block. The engine decodes the block by these declarations and owns every diagnostic, so a plugin
// only ever sees arguments of the right shape.
type Arg struct {
	Name     string
	Type     Type
	Required bool
	Default  any  // as it would stand in JSON; durations as text
	Secret   bool // never printed; may only be set from env(), file() or keyring()
	OneOf    []string
	Doc      string // first line: what it is, with units

	// PerRecord allows an expression that mentions record or receipt; the engine evaluates it for each record and the value arrives
	// in [Row].Args. Such an argument never arrives in [Env].Args, also when its expression is constant.
	PerRecord bool
	// PerFile: evaluated once for each file in the argument "files"; arrives in [Row].Args as a list as long as that one. Implies PerRecord.
	PerFile bool

	Block []Arg // not nil: a nested block of this name, at most once; Type is ignored. It arrives as a JSON object
}

// Type of an argument, and the JSON it arrives as.
type Type string

// Types of arguments.
const (
	String    Type = "string"
	Number    Type = "number"
	Bool      Type = "bool"
	Dur       Type = "duration" // "5m"; arrives as a string, see [Duration]
	Strings   Type = "list(string)"
	Durs      Type = "list(duration)" // ["1m","1h"]
	StringMap Type = "map(string)"
	AnyMap    Type = "map(any)"
	Any       Type = "any"
	Files     Type = "list(file)"      // written as [for f in record.files : f if …]; arrives as a list of file indexes
	FilesMap  Type = "map(list(file))" // arrives as an object of such lists
)

// Field publishes something that expressions may mention.
type Field struct {
	Name string // "body.msgtype", "meta.ref_msgid"; in a receipt just "record_id"
	Type Type
	Doc  string
}
