// One command for the official client. The command comes in COMMAND as JSON, the result leaves as the last line.
// Fed to node on its standard input, in the folder where the client is installed, so that the import finds it.
import { DefaultArtifactClient } from '@actions/artifact'

const { method, params } = JSON.parse(process.env.COMMAND)
const client = new DefaultArtifactClient()

let outcome
try {
  outcome = { value: await client[method](...params) }
} catch (error) {
  outcome = { error: error.name, message: error.message }
}
console.log('\n' + JSON.stringify(outcome))
