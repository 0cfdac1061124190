// %date:yyyy-MM-dd% and %Node.widget% in the names that these nodes save under. ComfyUI's browser replaces them for its
// own save nodes only.

import { app } from '../../../scripts/app.js'

const NAME_WIDGETS = {
  SaveLayers: ['filename_prefix'],
  CollectLayerClip: ['dataset', 'name']
}

function replacePatterns(text) {
  const replace = window.comfyAPI?.utils?.applyTextReplacements
  return replace ? replace(app, text) : text
}

app.registerExtension({
  name: 'layerflow.filename_patterns',

  beforeRegisterNodeDef(nodeType, nodeData) {
    const names = NAME_WIDGETS[nodeData.name]
    if (!names) {
      return
    }
    const onNodeCreated = nodeType.prototype.onNodeCreated

    nodeType.prototype.onNodeCreated = function (...rest) {
      const result = onNodeCreated?.apply(this, rest)
      for (const widget of this.widgets ?? []) {
        if (names.includes(widget.name)) {
          widget.serializeValue = () => replacePatterns(widget.value)
        }
      }
      return result
    }
  }
})
